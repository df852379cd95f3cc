//! What a request asks for, in the words that authorization decides by.
//!
//! The rules are kube-apiserver's (its `RequestInfo`): a path below `/apis/GROUP/VERSION/` names a resource, every other
//! path stands for itself.

use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use percent_encoding::percent_decode_str;

use crate::api::{GROUP, parameter, selector};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Attributes {
    Resource(ResourceAttributes),
    /// `verb` is the HTTP method in lower case.
    Path {
        verb: String,
        path: String,
    },
}

/// A request for a resource; what the path doesn't name is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ResourceAttributes {
    pub(crate) verb: &'static str,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: String,
    /// The metric's name, for reads of metrics.
    pub(crate) resource: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
    /// The requirements of `labelSelector`; empty when it can't be read, since a selector only narrows what is asked.
    pub(crate) label_selector: Vec<LabelSelectorRequirement>,
}

impl Attributes {
    /// `path` as it came, percent-encoded; `query` without the question mark.
    pub(crate) fn of(method: &Method, path: &str, query: &str) -> Self {
        let parts: Vec<String> = path
            .trim_matches('/')
            .split('/')
            .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect();
        match parts.as_slice() {
            [apis, group, version, rest @ ..] if apis == "apis" && !rest.is_empty() => {
                Self::Resource(ResourceAttributes::of(method, group, version, rest, query))
            }
            _ => Self::Path {
                verb: method.as_str().to_ascii_lowercase(),
                path: percent_decode_str(path).decode_utf8_lossy().into_owned(),
            },
        }
    }
}

impl ResourceAttributes {
    /// The same for every metric of every namespace; none for what is no read of a metric.
    pub(crate) fn of_all_metrics(&self) -> Option<Self> {
        (self.group == GROUP && matches!(self.verb, "get" | "list")).then(|| Self {
            verb: self.verb,
            group: self.group.clone(),
            version: self.version.clone(),
            // SubjectAccessReview's words for all of them: "*", and no namespace.
            resource: "*".to_owned(),
            ..Self::default()
        })
    }

    fn of(method: &Method, group: &str, version: &str, rest: &[String], query: &str) -> Self {
        let (namespace, rest) = match rest {
            [namespaces, namespace, rest @ ..]
                if namespaces == "namespaces" && !rest.is_empty() =>
            {
                (namespace.as_str(), rest)
            }
            _ => ("", rest),
        };
        let part = |index: usize| rest.get(index).cloned().unwrap_or_default();
        let requirements = parameter(query, "labelSelector").map(|text| selector::parse(&text));
        let label_selector = match requirements {
            Some(Ok(requirements)) => requirements
                .iter()
                .filter_map(selector::to_review)
                .collect(),
            Some(Err(_)) | None => Vec::new(),
        };
        Self {
            verb: verb(
                method,
                part(1).is_empty(),
                parameter(query, "watch")
                    .is_some_and(|watch| !matches!(watch.as_str(), "0" | "false")),
            ),
            group: group.to_owned(),
            version: version.to_owned(),
            namespace: namespace.to_owned(),
            resource: part(0),
            name: part(1),
            subresource: part(2),
            label_selector,
        }
    }
}

/// The API's verb for an HTTP method, by whether the request is for all objects of a resource or for one.
fn verb(method: &Method, all: bool, watch: bool) -> &'static str {
    match *method {
        Method::GET | Method::HEAD if all && watch => "watch",
        Method::GET | Method::HEAD if all => "list",
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if all => "deletecollection",
        Method::DELETE => "delete",
        // kube-apiserver has no verb for the others, which nobody but an administrator is then allowed.
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(method: Method, path: &str, query: &str) -> ResourceAttributes {
        match Attributes::of(&method, path, query) {
            Attributes::Resource(attributes) => attributes,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn a_metric_is_a_resource_of_its_own() {
        let attributes = resource(
            Method::GET,
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/s0-rabbitmq-orders",
            "labelSelector=scaledobject.keda.sh%2Fname%3Dorders",
        );
        assert_eq!(
            attributes,
            ResourceAttributes {
                verb: "list",
                group: "external.metrics.k8s.io".to_owned(),
                version: "v1beta1".to_owned(),
                namespace: "shop".to_owned(),
                resource: "s0-rabbitmq-orders".to_owned(),
                name: String::new(),
                subresource: String::new(),
                label_selector: vec![LabelSelectorRequirement {
                    key: "scaledobject.keda.sh/name".to_owned(),
                    operator: "In".to_owned(),
                    values: Some(vec!["orders".to_owned()]),
                }],
            }
        );
    }

    #[test]
    fn verbs_are_those_of_kubernetes() {
        let one = "/apis/g/v/namespaces/n/metric/name";
        let all = "/apis/g/v/namespaces/n/metric";
        for (method, path, query, verb) in [
            (Method::GET, all, "", "list"),
            (Method::HEAD, all, "", "list"),
            (Method::GET, one, "", "get"),
            (Method::GET, all, "watch=true", "watch"),
            (Method::GET, all, "watch=false", "list"),
            (Method::POST, all, "", "create"),
            (Method::PUT, one, "", "update"),
            (Method::PATCH, one, "", "patch"),
            (Method::DELETE, one, "", "delete"),
            (Method::DELETE, all, "", "deletecollection"),
            (Method::OPTIONS, all, "", ""),
        ] {
            assert_eq!(
                resource(method.clone(), path, query).verb,
                verb,
                "{method} {path}?{query}"
            );
        }
    }

    #[test]
    fn every_other_path_stands_for_itself() {
        for path in [
            "/",
            "/apis",
            "/apis/external.metrics.k8s.io",
            "/apis/external.metrics.k8s.io/v1beta1",
            "/openapi/v2",
        ] {
            let expected = Attributes::Path {
                verb: "get".to_owned(),
                path: path.to_owned(),
            };
            assert_eq!(Attributes::of(&Method::GET, path, ""), expected);
        }
    }

    #[test]
    fn an_encoded_slash_does_not_move_a_request_into_another_namespace() {
        let attributes = resource(Method::GET, "/apis/g/v/namespaces/a%2Fb/metric", "");
        assert_eq!(
            (attributes.namespace.as_str(), attributes.resource.as_str()),
            ("a/b", "metric")
        );
    }
}
