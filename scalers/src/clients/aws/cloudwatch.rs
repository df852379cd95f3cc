//! Questions to CloudWatch, over its Query API: every stand-in for AWS speaks that one, while the SDK speaks another that few do.

use std::time::SystemTime;

use form_urlencoded::Serializer;
use jiff::Timestamp;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request};

use super::client::{Asker, AwsClient, Question};
use super::error::refusal;
use super::signature::sign;
use crate::answers::Answers;
use crate::http::{BODY_LIMIT, ask, parse_url};
use crate::scaler::ScalerError;

const SERVICE: &str = "monitoring";
const VERSION: &str = "2010-08-01";

/// The newest value of a metric.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MetricValue {
    pub metric: Metric,
    /// Seconds that a value is of.
    pub period: i64,
    /// How far back values are looked for, in seconds.
    pub collection_time: i64,
    /// How long ago the newest one may be, in seconds.
    pub end_offset: i64,
    /// Another account than one's own.
    pub account_id: Option<String>,
}

/// Which metric.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Metric {
    /// A formula or query in CloudWatch's language.
    Expression(String),
    Statistic {
        namespace: String,
        name: String,
        dimensions: Vec<(String, String)>,
        statistic: String,
        unit: Option<String>,
    },
}

impl Question for MetricValue {
    /// `None` where the metric has no value in the window.
    type Answer = Option<f64>;

    fn subject(&self) -> String {
        match &self.metric {
            Metric::Expression(expression) => format!("the expression {expression:?}"),
            Metric::Statistic {
                namespace, name, ..
            } => format!("the metric {name:?} of {namespace:?}"),
        }
    }

    fn answers(client: &AwsClient) -> &Answers<Self, Option<f64>> {
        &client.metrics
    }

    async fn ask(&self, asker: &Asker) -> Result<Option<f64>, ScalerError> {
        let client = asker.http.clone().map_err(ScalerError::Unreachable)?;
        let url = parse_url(&endpoint(asker)).map_err(ScalerError::Malformed)?;
        let now = SystemTime::now();
        let mut request = Request::new(Method::POST, url);
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, form);
        *request.body_mut() = Some(self.form(seconds(now)).into());
        let credentials = asker.credentials().await?;
        sign(&mut request, SERVICE, &asker.region, &credentials, now)
            .map_err(ScalerError::Malformed)?;
        let answer = tokio::time::timeout(asker.within, ask(&client, request, BODY_LIMIT)).await;
        let answer =
            answer.map_err(|_| ScalerError::Unreachable("no answer in time".to_owned()))??;
        if !answer.status.is_success() {
            let said = |member: &str| {
                let read = first_text(&answer.body, &["ErrorResponse", "Error", member]);
                read.ok().flatten()
            };
            let (code, sentence) = (said("Code"), said("Message"));
            let status = answer.status.as_u16();
            return Err(refusal(code.as_deref(), status, sentence.as_deref()));
        }
        answer.body.parse(newest_value).await
    }
}

impl MetricValue {
    /// The request's parameters.
    fn form(&self, now: i64) -> String {
        let (start, end) = window(now, self.period, self.end_offset, self.collection_time);
        let mut form = Serializer::new(String::new());
        form.append_pair("Action", "GetMetricData")
            .append_pair("Version", VERSION)
            .append_pair("StartTime", &text(start))
            .append_pair("EndTime", &text(end))
            .append_pair("ScanBy", "TimestampDescending");
        let period = self.period.to_string();
        let mut query = |name: &str, value: &str| {
            form.append_pair(&format!("MetricDataQueries.member.1.{name}"), value);
        };
        match &self.metric {
            Metric::Expression(expression) => {
                query("Id", "q1");
                query("Expression", expression);
                query("Period", &period);
            }
            Metric::Statistic {
                namespace,
                name,
                dimensions,
                statistic,
                unit,
            } => {
                query("Id", "c1");
                query("MetricStat.Metric.Namespace", namespace);
                query("MetricStat.Metric.MetricName", name);
                for (number, (name, value)) in (1..).zip(dimensions) {
                    let member = format!("MetricStat.Metric.Dimensions.member.{number}");
                    query(&format!("{member}.Name"), name);
                    query(&format!("{member}.Value"), value);
                }
                query("MetricStat.Period", &period);
                query("MetricStat.Stat", statistic);
                if let Some(unit) = unit {
                    query("MetricStat.Unit", unit);
                }
                query("ReturnData", "true");
            }
        }
        if let Some(account) = &self.account_id {
            query("AccountId", account);
        }
        form.finish()
    }
}

/// Start and end of the values that are looked for, in seconds since 1970: the end is a whole number of periods, counted from where
/// Go counts its time (the year 1), as KEDA does.
fn window(now: i64, period: i64, end_offset: i64, collection_time: i64) -> (i64, i64) {
    const YEAR_ONE: i64 = -62_135_596_800;
    let end = now.saturating_sub(end_offset);
    let end = end.saturating_sub(end.saturating_sub(YEAR_ONE).rem_euclid(period.max(1)));
    (end.saturating_sub(collection_time), end)
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// A time as AWS writes it. One that no calendar has is the end of the calendar on that side, which AWS refuses.
fn text(seconds: i64) -> String {
    let beyond = if seconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    let time = Timestamp::from_second(seconds).unwrap_or(beyond);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Where CloudWatch is: at the trigger's endpoint, the environment's, or AWS's own for the region.
fn endpoint(asker: &Asker) -> String {
    let of_the_service = || std::env::var("AWS_ENDPOINT_URL_CLOUDWATCH").ok();
    let given = asker.endpoint.clone().or_else(of_the_service);
    let given = given.or_else(|| asker.sdk.endpoint_url().map(str::to_owned));
    given.unwrap_or_else(|| {
        let region = &asker.region;
        format!("https://monitoring.{region}.{}/", domain(region))
    })
}

/// The domain that AWS has for a region.
fn domain(region: &str) -> &'static str {
    const PARTITIONS: &[(&str, &str)] = &[
        ("cn-", "amazonaws.com.cn"),
        ("eusc-", "amazonaws.eu"),
        ("us-iso-", "c2s.ic.gov"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("us-isof-", "csp.hci.ic.gov"),
    ];
    let found = PARTITIONS
        .iter()
        .find(|(prefix, _)| region.starts_with(prefix));
    found.map_or("amazonaws.com", |(_, domain)| domain)
}

/// The first value of the first result: the newest, as that is how they were asked for.
fn newest_value(xml: &[u8]) -> Result<Option<f64>, ScalerError> {
    const RESULTS: &[&str] = &[
        "GetMetricDataResponse",
        "GetMetricDataResult",
        "MetricDataResults",
    ];
    const VALUE: &[&str] = &["member", "Values", "member"];
    const STATUS: &[&str] = &["member", "StatusCode"];
    const NEXT_PAGE: &[&str] = &["GetMetricDataResponse", "GetMetricDataResult", "NextToken"];
    let malformed = |what: &str| ScalerError::Malformed(format!("AWS's answer {what}"));
    let read = |path: &[&str]| first_text(xml, path).map_err(|why| malformed(&why));
    read(RESULTS)?.ok_or_else(|| malformed("has no MetricDataResults"))?;
    let value = read(&[RESULTS, VALUE].concat())?;
    // The newest values come first: what is missing of a part that has one is older.
    match read(&[RESULTS, STATUS].concat())?.as_deref() {
        None | Some("Complete") => {}
        Some("PartialData") if value.is_some() => {}
        Some("Forbidden") => {
            let refused = "this identity may not read the metric (StatusCode Forbidden)";
            return Err(ScalerError::Unauthorized(refused.to_owned()));
        }
        Some(other) => {
            let unfinished = format!("AWS's answer is not complete (StatusCode {other})");
            return Err(ScalerError::Unreachable(unfinished));
        }
    }
    let Some(value) = value else {
        // No value yet is not no value at all.
        let more = read(NEXT_PAGE)?.is_some_and(|token| !token.trim().is_empty());
        return match more {
            true => Err(malformed("has its values on another page")),
            false => Ok(None),
        };
    };
    // What is no number is no value that anything can be scaled by.
    let number = value
        .trim()
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite());
    number
        .map(Some)
        .ok_or_else(|| malformed("has a value that is no number"))
}

/// The text of the first element that a path leads to, where each step is the first element of that name in the one before;
/// elements within it are left out. `None` where there is no such element.
///
/// # Errors
/// For what is no XML.
fn first_text(xml: &[u8], path: &[&str]) -> Result<Option<String>, String> {
    const BROKEN: &str = "is no XML";
    let xml = std::str::from_utf8(xml).map_err(|_| BROKEN)?;
    let mut reader = Reader::from_str(xml);
    // How many steps of the path are done, and how many elements below them are open.
    let (mut done, mut below) = (0, 0_usize);
    let mut text = String::new();
    loop {
        let event = reader.read_event().map_err(|_| BROKEN)?;
        let is_next = |element: &BytesStart<'_>| {
            let name = element.local_name();
            below == 0
                && path
                    .get(done)
                    .is_some_and(|step| *step == AsRef::<str>::as_ref(&name))
        };
        match event {
            Event::Start(element) if is_next(&element) => done += 1,
            Event::Start(_) => below += 1,
            Event::Empty(element) if is_next(&element) && done + 1 == path.len() => {
                return Ok(Some(text));
            }
            // It is the first of its name, and has nothing in it.
            Event::Empty(element) if is_next(&element) => return Ok(None),
            Event::End(_) if below > 0 => below -= 1,
            Event::End(_) if done == path.len() => return Ok(Some(text)),
            // The first of the name ended without the next step: there is no other.
            Event::End(_) => return Ok(None),
            Event::Text(part) if done == path.len() && below == 0 => {
                text.push_str(&part);
            }
            Event::Eof if done == 0 && below == 0 => return Ok(None),
            Event::Eof => return Err(BROKEN.to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(metric: Metric) -> MetricValue {
        MetricValue {
            metric,
            period: 60,
            collection_time: 300,
            end_offset: 0,
            account_id: None,
        }
    }

    #[test]
    fn the_window_ends_with_a_whole_period() {
        for (now, period, offset, collection, expected) in [
            (1_700_000_059, 60, 0, 300, (1_699_999_740, 1_700_000_040)),
            (1_700_000_040, 60, 0, 300, (1_699_999_740, 1_700_000_040)),
            (1_700_000_059, 60, 30, 60, (1_699_999_920, 1_699_999_980)),
            (1_700_000_059, 1, 0, 1, (1_700_000_058, 1_700_000_059)),
            (1_700_000_059, 300, -300, 0, (1_700_000_100, 1_700_000_100)),
            // A week: Go counts from a Monday, 1970 began on a Thursday.
            (1_700_000_000, 604_800, 0, 0, (1_699_833_600, 1_699_833_600)),
        ] {
            let found = window(now, period, offset, collection);
            assert_eq!(found, expected, "{now} {period} {offset}");
        }
        window(i64::MIN, i64::MAX, i64::MAX, i64::MAX);
        assert_eq!(text(1_700_000_000), "2023-11-14T22:13:20Z");
        assert!(text(i64::MIN).starts_with("-9999"));
    }

    #[test]
    fn a_statistic_is_asked_for_with_its_dimensions() {
        let mut question = question(Metric::Statistic {
            namespace: "AWS/SQS".to_owned(),
            name: "Depth".to_owned(),
            dimensions: vec![
                ("Queue".to_owned(), "a b".to_owned()),
                ("Zone".to_owned(), "c".to_owned()),
            ],
            statistic: "p99".to_owned(),
            unit: Some("Count".to_owned()),
        });
        question.account_id = Some("123456789012".to_owned());
        let query = "MetricDataQueries.member.1";
        let metric = format!("{query}.MetricStat.Metric");
        assert_eq!(
            question.form(1_700_000_059),
            format!(
                "Action=GetMetricData&Version=2010-08-01&StartTime=2023-11-14T22%3A09%3A00Z&EndTime=2023-11-14T22%3A14%3A00Z\
                 &ScanBy=TimestampDescending&{query}.Id=c1&{metric}.Namespace=AWS%2FSQS&{metric}.MetricName=Depth\
                 &{metric}.Dimensions.member.1.Name=Queue&{metric}.Dimensions.member.1.Value=a+b\
                 &{metric}.Dimensions.member.2.Name=Zone&{metric}.Dimensions.member.2.Value=c\
                 &{query}.MetricStat.Period=60&{query}.MetricStat.Stat=p99&{query}.MetricStat.Unit=Count&{query}.ReturnData=true\
                 &{query}.AccountId=123456789012"
            )
        );
    }

    #[test]
    fn an_expression_is_asked_for_as_it_is() {
        let question = question(Metric::Expression("SELECT AVG(Depth) FROM App".to_owned()));
        let query = "MetricDataQueries.member.1";
        let form = question.form(1_700_000_059);
        let expected = format!(
            "&{query}.Id=q1&{query}.Expression=SELECT+AVG%28Depth%29+FROM+App&{query}.Period=60"
        );
        assert!(form.ends_with(&expected), "{form}");
    }

    /// An answer with these results.
    fn answer(results: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<GetMetricDataResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\">\n \
             <GetMetricDataResult>{results}</GetMetricDataResult></GetMetricDataResponse>"
        )
    }

    #[test]
    fn the_first_value_of_the_first_result_counts() {
        let results =
            |members: &str| answer(&format!("<MetricDataResults>{members}</MetricDataResults>"));
        let member = |values: &str| {
            format!(
                "<member><Id>c1</Id><Timestamps><member>2023</member></Timestamps>{values}</member>"
            )
        };
        let values = |values: &str| member(&format!("<Values>{values}</Values>"));
        for (xml, expected) in [
            (
                results(&values("<member>42.5</member><member>1</member>")),
                Ok(Some(42.5)),
            ),
            (results(&values("<member>0</member>")), Ok(Some(0.0))),
            (results(&values("<member>-3e2</member>")), Ok(Some(-300.0))),
            (
                results(&(values("<member>1</member>") + &values("<member>2</member>"))),
                Ok(Some(1.0)),
            ),
            // Another result's value is no answer to this question.
            (
                results(&(values("") + &values("<member>2</member>"))),
                Ok(None),
            ),
            (results(&member("<Values/>")), Ok(None)),
            (results(&member("")), Ok(None)),
            (results(""), Ok(None)),
            (answer("<MetricDataResults/>"), Ok(None)),
            (answer(""), Err("no MetricDataResults")),
            (answer("<MetricDataResults><member>"), Err("no XML")),
            (results(&values("<member>x</member>")), Err("no number")),
            (results(&values("<member>NaN</member>")), Err("no number")),
            (results(&values("<member></member>")), Err("no number")),
            (String::new(), Err("no MetricDataResults")),
            ("{}".to_owned(), Err("no MetricDataResults")),
            ("<a><b></a>".to_owned(), Err("no XML")),
        ] {
            match (newest_value(xml.as_bytes()), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{xml}"),
                (Err(ScalerError::Malformed(text)), Err(part)) => {
                    assert!(text.contains(part), "{xml}: {text}");
                }
                (found, _) => panic!("{xml}: {found:?}"),
            }
        }
    }

    /// AWS says so of each result, in an answer that is fine otherwise.
    #[test]
    fn a_result_that_is_not_complete_is_no_missing_value() {
        let found = |status: &str, values: &str, more: &str| {
            let results = format!(
                "<MetricDataResults><member><StatusCode>{status}</StatusCode><Values>{values}</Values></member></MetricDataResults>{more}"
            );
            newest_value(answer(&results).as_bytes())
        };
        let value = "<member>7</member>";
        assert_eq!(found("Complete", value, ""), Ok(Some(7.0)));
        assert_eq!(found("Complete", "", ""), Ok(None));
        assert_eq!(found("PartialData", value, ""), Ok(Some(7.0)));
        for status in ["PartialData", "InternalError"] {
            assert!(matches!(
                found(status, "", ""),
                Err(ScalerError::Unreachable(_))
            ));
        }
        assert!(matches!(
            found("InternalError", value, ""),
            Err(ScalerError::Unreachable(_))
        ));
        assert!(matches!(
            found("Forbidden", "", ""),
            Err(ScalerError::Unauthorized(_))
        ));
        let next = "<NextToken>t</NextToken>";
        assert!(matches!(
            found("Complete", "", next),
            Err(ScalerError::Malformed(_))
        ));
        assert_eq!(found("Complete", value, next), Ok(Some(7.0)));
    }

    #[test]
    fn refusals_name_their_code() {
        let xml = "<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate &lt;exceeded</Message></Error></ErrorResponse>";
        let read =
            |member| first_text(xml.as_bytes(), &["ErrorResponse", "Error", member]).unwrap();
        assert_eq!(read("Code").as_deref(), Some("Throttling"));
        assert_eq!(read("Nothing"), None);
    }

    #[test]
    fn regions_have_their_domains() {
        for (region, expected) in [
            ("eu-west-1", "amazonaws.com"),
            ("us-gov-west-1", "amazonaws.com"),
            ("cn-north-1", "amazonaws.com.cn"),
            ("us-iso-east-1", "c2s.ic.gov"),
            ("us-isob-east-1", "sc2s.sgov.gov"),
        ] {
            assert_eq!(domain(region), expected, "{region}");
        }
    }

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_answer_panics(
            piece in r#"(</?(member|Values|StatusCode|a)( a=["'])?/?>|<!\[CDATA\[|\]\]>|&[a-z#0-9]{0,3};|[<>&1é]){0,15}"#,
        ) {
            let whole = format!(
                "<GetMetricDataResponse><GetMetricDataResult><MetricDataResults>{piece}</MetricDataResults></GetMetricDataResult></GetMetricDataResponse>"
            );
            let _ = newest_value(piece.as_bytes());
            if let Ok(Some(number)) = newest_value(whole.as_bytes()) {
                prop_assert!(number.is_finite());
            }
        }
    }
}
