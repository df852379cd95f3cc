//! RabbitMQ's management API: the request for one queue or for all that match, and what its answer means.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use url::Url;

use super::mode::{Counts, Operation};
use super::parameters::RabbitMq;
use crate::http::{Authentication, parse_url, without_user};
use crate::limits::{at_most, from_json};
use crate::scaler::ScalerError;

/// The most queues of one answer, whose names are remembered: RabbitMQ gives 500 on a page.
const MOST_QUEUES: usize = 10_000;

/// How much of a refusal is shown.
const LONGEST_REFUSAL: usize = 300;

/// The management API as one trigger asks it.
pub struct Management {
    client: Arc<Client>,
    timeout: Duration,
    /// Without credentials.
    url: Url,
    authentication: Authentication,
    ready_only: bool,
    /// Given when the queues are those that match an expression.
    operation: Option<Operation>,
    /// The queues that had counts at the last reading.
    counted: Mutex<HashSet<String>>,
}

impl Management {
    /// # Errors
    /// When `host` is no HTTP URL.
    pub fn new(
        client: Arc<Client>,
        timeout: Duration,
        authentication: Authentication,
        parameters: &RabbitMq,
        operation: Option<Operation>,
    ) -> Result<Self, String> {
        let queues = match operation {
            None => Queues::Named(&parameters.queue_name),
            Some(_) => Queues::Matching {
                regex: &parameters.queue_name,
                page_size: parameters.page_size,
            },
        };
        let url = url(&parameters.host, parameters.vhost_name.as_deref(), queues)?;
        Ok(Self {
            client,
            timeout,
            url,
            authentication,
            ready_only: parameters.exclude_unacknowledged,
            operation,
            counted: Mutex::default(),
        })
    }

    /// Asks once.
    ///
    /// # Errors
    /// `Unauthorized` for refused credentials or permissions, `NotFound` for a queue or virtual host that isn't there,
    /// `Malformed` for an answer without counts.
    pub async fn read(&self) -> Result<Counts, ScalerError> {
        let counts = self.ask().await;
        counts.map_err(|error| error.at(&format!("RabbitMQ at {}", self.url)))
    }

    async fn ask(&self) -> Result<Counts, ScalerError> {
        let answer = self
            .authentication
            .get(&self.client, &self.url, self.timeout)
            .await?;
        if answer.status != StatusCode::OK {
            let shown = &answer.body[..answer.body.len().min(LONGEST_REFUSAL)];
            return Err(answer.refusal(format!(
                "error requesting RabbitMQ API status: {}, response: {}",
                answer.status,
                String::from_utf8_lossy(shown).trim(),
            )));
        }
        let (body, ready_only) = (answer.body, self.ready_only);
        let counts = match self.operation {
            None => body.parse(move |body| one(body, ready_only)).await,
            Some(operation) => match body.parse(page).await {
                Ok(page) => {
                    let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
                    all(&page, ready_only, operation, &mut counted)
                }
                Err(error) => Err(error),
            },
        };
        counts.map_err(ScalerError::Malformed)
    }
}

/// What Go's `url.QueryEscape` leaves alone, besides letters and digits.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Go's `url.QueryEscape`: the form that metric names show.
pub fn query_escape(text: &str) -> String {
    escape(text).replace("%20", "+")
}

/// The same for a path, where a plus is a plus. RabbitMQ reads both alike.
fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// The queues that a trigger asks for.
#[derive(Clone, Copy, Debug)]
pub enum Queues<'a> {
    Named(&'a str),
    Matching { regex: &'a str, page_size: i64 },
}

/// The URL of a query, without credentials. The last part of `host`'s path is the virtual host, encoded (`%2F` is the
/// default one, and so is nothing), what comes before it is kept; `vhost` is not encoded and wins.
///
/// # Errors
/// When `host` is no `http` or `https` URL with a host name.
pub fn url(host: &str, vhost: Option<&str>, queues: Queues) -> Result<Url, String> {
    let url = parse_url(host)
        .map_err(|problem| format!("error parsing RabbitMQ management URL: host {problem}"))?;
    let mut url = without_user(url);
    url.set_fragment(None);
    let path = url.path().to_owned();
    let (before, last) = path.rsplit_once('/').unwrap_or(("", &path));
    let vhost = match vhost {
        Some(vhost) => escape(vhost),
        None if last.is_empty() => "%2F".to_owned(),
        None => last.to_owned(),
    };
    let before = before.trim_end_matches('/');
    match queues {
        Queues::Named(queue) => {
            url.set_path(&format!("{before}/api/queues/{vhost}/{}", escape(queue)));
            url.set_query(None);
        }
        Queues::Matching { regex, page_size } => {
            url.set_path(&format!("{before}/api/queues/{vhost}"));
            let regex = query_escape(regex);
            url.set_query(Some(&format!(
                "page=1&use_regex=true&pagination=false&name={regex}&page_size={page_size}"
            )));
        }
    }
    Ok(url)
}

/// What the API says of a queue. All of it is absent until the queue has sent its first statistics.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Queue {
    name: String,
    messages: Option<i64>,
    messages_ready: Option<i64>,
    /// Absent, and `[]` in old releases, while nothing has come or gone.
    message_stats: Option<MessageStats>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MessageStats {
    publish_details: Option<Details>,
    deliver_get_details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    rate: f64,
}

/// The queues of an answer.
#[derive(Debug, Deserialize)]
pub struct Page {
    #[serde(deserialize_with = "at_most::<MOST_QUEUES, _, _>")]
    items: Vec<Queue>,
    #[serde(default)]
    page_count: i64,
}

impl Queue {
    /// `None` while the broker has no count.
    ///
    /// For some seconds after its start RabbitMQ answers as if all were well, but without counts. KEDA takes them
    /// for zero, and so lets a restart of the broker scale consumers down.
    fn counts(&self, ready_only: bool) -> Option<Counts> {
        let rate = |details: fn(&MessageStats) -> &Option<Details>| {
            let details = self
                .message_stats
                .as_ref()
                .and_then(|stats| details(stats).as_ref());
            details.map_or(0.0, |details| details.rate)
        };
        Some(Counts {
            messages: if ready_only {
                self.messages_ready?
            } else {
                self.messages?
            },
            publish_rate: rate(|stats| &stats.publish_details),
            deliver_get_rate: rate(|stats| &stats.deliver_get_details),
        })
    }
}

/// The counts of one queue from the API's answer.
///
/// # Errors
/// When the answer is not a queue with counts.
pub fn one(answer: &[u8], ready_only: bool) -> Result<Counts, String> {
    let queue: Queue = from_json(answer).map_err(|error| error.to_string())?;
    queue
        .counts(ready_only)
        .ok_or_else(|| no_counts(&queue.name))
}

/// The queues of the API's answer.
///
/// # Errors
/// When it is no page of queues.
pub fn page(answer: &[u8]) -> Result<Page, String> {
    from_json(answer).map_err(|error| error.to_string())
}

/// The counts of all queues of a page as one queue's.
///
/// `counted` remembers the queues that had counts before. A queue without is new, and empty, if it had none before;
/// otherwise (and if no queue has had any) its count is missing, which is an error: the sum without it would be too low.
///
/// # Errors
/// When there are more pages, or counts are missing.
pub fn all(
    page: &Page,
    ready_only: bool,
    operation: Operation,
    counted: &mut HashSet<String>,
) -> Result<Counts, String> {
    if page.page_count > 1 {
        return Err("regex matches more queues than can be recovered at once".to_owned());
    }
    let mut known = Vec::new();
    let mut with_counts = HashSet::new();
    let mut missing = None;
    for queue in &page.items {
        if let Some(counts) = queue.counts(ready_only) {
            known.push(counts);
            with_counts.insert(queue.name.clone());
        } else if counted.is_empty() || counted.contains(&queue.name) {
            missing = Some(&queue.name);
        } else {
            known.push(Counts::default());
        }
    }
    if let Some(name) = missing {
        counted.extend(with_counts);
        return Err(no_counts(name));
    }
    *counted = with_counts;
    Ok(operation.compose(&known))
}

fn no_counts(queue: &str) -> String {
    format!(
        "no message count of queue {queue:?} yet: the broker has just started, or the queue is new"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_kedas() {
        let named = Queues::Named("evaluate trials/ä");
        let queue = "evaluate%20trials%2F%C3%A4";
        let table = [
            (
                "http://rabbit:15672",
                None,
                "http://rabbit:15672/api/queues/%2F/",
            ),
            ("http://rabbit/", None, "http://rabbit/api/queues/%2F/"),
            ("http://rabbit/%2F", None, "http://rabbit/api/queues/%2F/"),
            (
                "http://rabbit/%2f/",
                None,
                "http://rabbit/%2f/api/queues/%2F/",
            ),
            (
                "http://rabbit/my%20host",
                None,
                "http://rabbit/api/queues/my%20host/",
            ),
            (
                "http://rabbit/sub/path/v",
                None,
                "http://rabbit/sub/path/api/queues/v/",
            ),
            (
                "http://rabbit/sub//",
                None,
                "http://rabbit/sub/api/queues/%2F/",
            ),
            (
                "https://u:p@rabbit/v#x",
                None,
                "https://rabbit/api/queues/v/",
            ),
            (
                "http://rabbit/v",
                Some("/"),
                "http://rabbit/api/queues/%2F/",
            ),
            (
                "http://rabbit/v",
                Some("a b+c/d"),
                "http://rabbit/api/queues/a%20b%2Bc%2Fd/",
            ),
            (
                "http://rabbit/sub/",
                Some("v"),
                "http://rabbit/sub/api/queues/v/",
            ),
        ];
        for (host, vhost, expected) in table {
            let found = url(host, vhost, named).unwrap().to_string();
            assert_eq!(found, format!("{expected}{queue}"), "{host} {vhost:?}");
        }
        let matching = Queues::Matching {
            regex: "^a b.*$|c+",
            page_size: 50,
        };
        assert_eq!(
            url("http://rabbit/v", None, matching).unwrap().as_str(),
            "http://rabbit/api/queues/v?page=1&use_regex=true&pagination=false&name=%5Ea+b.%2A%24%7Cc%2B&page_size=50"
        );
    }

    #[test]
    fn a_host_must_be_an_http_url() {
        for host in ["rabbit:15672", "amqp://rabbit", "http://", "/%2F", ""] {
            assert!(url(host, None, Queues::Named("q")).is_err(), "{host}");
        }
    }

    #[test]
    fn names_are_escaped_as_go_does() {
        assert_eq!(
            query_escape("a b/c*d~e-f_g.h+ä"),
            "a+b%2Fc%2Ad~e-f_g.h%2B%C3%A4"
        );
    }

    const BUSY: &str = r#"{"name":"q","messages":7,"messages_ready":5,"messages_unacknowledged":2,"message_stats":{"publish":9,
        "publish_details":{"rate":1.5},"deliver_get_details":{"rate":2.0}},"state":"running"}"#;

    #[test]
    fn counts_of_one_queue() {
        let rates = Counts {
            messages: 7,
            publish_rate: 1.5,
            deliver_get_rate: 2.0,
        };
        assert_eq!(one(BUSY.as_bytes(), false), Ok(rates));
        assert_eq!(
            one(BUSY.as_bytes(), true),
            Ok(Counts {
                messages: 5,
                ..rates
            })
        );
        for idle in [
            r#"{"messages":3}"#,
            r#"{"messages":3,"message_stats":{}}"#,
            r#"{"messages":3,"message_stats":[]}"#,
        ] {
            let counts = Counts {
                messages: 3,
                ..Counts::default()
            };
            assert_eq!(one(idle.as_bytes(), false), Ok(counts), "{idle}");
        }
    }

    #[test]
    fn an_answer_without_counts_is_never_zero() {
        let starting = r#"{"name":"q","durable":true,"vhost":"/"}"#;
        assert!(
            one(starting.as_bytes(), false)
                .unwrap_err()
                .starts_with(r#"no message count of queue "q" yet"#)
        );
        assert!(one(br#"{"name":"q","messages":null}"#, false).is_err());
        assert!(one(br#"{"name":"q","messages":3}"#, true).is_err());
        for malformed in ["", "<html>", "[]x", r#"{"messages":"many"}"#] {
            assert!(one(malformed.as_bytes(), false).is_err(), "{malformed}");
        }
    }

    fn page(queues: &[&str]) -> Vec<u8> {
        let queues = queues.iter().map(|queue| match queue.split_once('=') {
            Some((name, messages)) => format!(r#"{{"name":"{name}","messages":{messages}}}"#),
            None => format!(r#"{{"name":"{queue}"}}"#),
        });
        format!(
            r#"{{"items":[{}],"page_count":1}}"#,
            queues.collect::<Vec<_>>().join(",")
        )
        .into_bytes()
    }

    #[test]
    fn a_queue_that_lost_its_count_is_an_error_and_a_new_one_is_empty() {
        let mut counted = HashSet::new();
        let mut sum = |queues: &[&str]| {
            let page = super::page(&page(queues))?;
            all(&page, false, Operation::Sum, &mut counted).map(|counts| counts.messages)
        };
        // Just started: nothing is known of any.
        assert!(sum(&["a", "b"]).is_err());
        assert_eq!(sum(&["a=3", "b=4"]), Ok(7));
        assert_eq!(sum(&["a=3", "b=4", "new"]), Ok(7));
        assert_eq!(sum(&["a=3", "b=4", "new=2"]), Ok(9));
        assert!(sum(&["a=3", "b", "new=2"]).is_err());
        // Still remembered after an error.
        assert!(sum(&["a=3", "b"]).is_err());
        // Deleted is not lost.
        assert_eq!(sum(&["a=3"]), Ok(3));
        assert_eq!(sum(&["a=3", "b"]), Ok(3));
        assert_eq!(sum(&[]), Ok(0));
    }

    #[test]
    fn one_page_must_do() {
        let answer = br#"{"items":[{"name":"a","messages":3}],"page_count":2}"#;
        let page = super::page(answer).unwrap();
        let error = all(&page, false, Operation::Sum, &mut HashSet::new()).unwrap_err();
        assert_eq!(
            error,
            "regex matches more queues than can be recovered at once"
        );
        assert!(super::page(b"{}").is_err());
    }
}
