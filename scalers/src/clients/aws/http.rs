//! The SDK's HTTP, by the client that all HTTP goes through here: its TLS, its proxies and its bounds are the same.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::config::RuntimeComponents;
use aws_sdk_sqs::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Method, Request, Url};

use crate::http::ask;
use crate::scaler::ScalerError;

/// The most of an answer that the SDK is given. It takes answers apart where polls run; the largest of AWS's that are asked for, a page of
/// DynamoDB's, has 1 MiB of items, which are counted and not sent.
const ANSWER_BYTES: usize = 1024 * 1024;

/// What the SDK sends its requests through.
#[derive(Clone)]
pub(super) struct SdkHttp(pub Result<Arc<Client>, String>);

impl fmt::Debug for SdkHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the HTTP client of all scalers")
    }
}

impl HttpClient for SdkHttp {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        // Only a machine's metadata is asked with both; everything else is bounded as a whole operation.
        let both = settings.connect_timeout().zip(settings.read_timeout());
        SharedHttpConnector::new(Connector {
            client: self.0.clone(),
            within: both.map(|(connect, read)| connect + read),
        })
    }
}

struct Connector {
    client: Result<Arc<Client>, String>,
    within: Option<Duration>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a connector with {:?}", self.within)
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (client, within) = (self.client.clone(), self.within);
        HttpConnectorFuture::new(async move {
            let client = client.map_err(ScalerError::Unreachable);
            let answer = async {
                let client = client?;
                exchange(&client, &request).await
            };
            let answer = match within {
                None => answer.await,
                Some(within) => match tokio::time::timeout(within, answer).await {
                    Ok(answer) => answer,
                    Err(_) => Err(ScalerError::Unreachable(format!(
                        "no answer within {} ms",
                        within.as_millis()
                    ))),
                },
            };
            answer.map_err(|error| ConnectorError::io(error.into()))
        })
    }
}

/// One request and its answer.
async fn exchange(client: &Client, request: &HttpRequest) -> Result<HttpResponse, ScalerError> {
    let answer = ask(client, outgoing(request)?, ANSWER_BYTES).await?;
    let malformed = |_| ScalerError::Malformed("the answer is no HTTP".to_owned());
    let status = answer.status.as_u16().try_into().map_err(malformed)?;
    let mut response = HttpResponse::new(status, answer.body.into_bytes().into());
    for (name, value) in &answer.headers {
        // A header that is no text means nothing to the SDK.
        if let Ok(value) = value.to_str() {
            let _ = response
                .headers_mut()
                .try_append(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(response)
}

fn outgoing(request: &HttpRequest) -> Result<Request, ScalerError> {
    // Neither the URL nor a header may be shown: both may hold what a request is signed with.
    let refused = |what: &str| ScalerError::Malformed(format!("the request has no usable {what}"));
    let method = Method::from_bytes(request.method().as_bytes()).map_err(|_| refused("method"))?;
    let url = Url::parse(request.uri()).map_err(|_| refused("URL"))?;
    let body = request.body().bytes().ok_or_else(|| refused("body"))?;
    let mut outgoing = Request::new(method, url);
    for (name, value) in request.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused("header"))?;
        let value = HeaderValue::from_str(value).map_err(|_| refused("header"))?;
        outgoing.headers_mut().append(name, value);
    }
    *outgoing.body_mut() = Some(body.to_vec().into());
    Ok(outgoing)
}
