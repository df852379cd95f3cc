//! The two functions of librdkafka that the scalers need and `rdkafka` has no safe method for: the committed offsets of any
//! consumer group, and a token with extensions for SASL/OAUTHBEARER. Nothing else is here: it is the one crate of the
//! workspace that may be unsafe.
//!
//! librdkafka's own function for committed offsets ends the whole process in two situations (as of version 2.12). Both are
//! closed off here:
//!
//! - A coordinator that answers "not me any more" is looked up anew through the client's own consumer group, whether it has one or
//!   not. So [`committed`] refuses a client without a `group.id`.
//! - A request that has timed out while its coordinator couldn't be reached is freed, and used when the coordinator is there
//!   again. So requests don't time out in librdkafka, but in [`committed`], which leaves them behind; they end with the client, or
//!   when the coordinator answers. Who sees [`Failure::NoAnswer`] should give up the client sooner or later.

mod owned;

use std::ffi::{CStr, CString, c_char, c_int};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;

use owned::Owned;

/// How far a group has come in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub topic: String,
    pub partition: i32,
    /// `None` where nothing is committed.
    pub offset: Result<Option<i64>, RDKafkaErrorCode>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Not in time. The request is left behind in the client.
    #[error("no answer in time")]
    NoAnswer,
    /// What the broker, or librdkafka, says.
    #[error("{text}")]
    Refused {
        code: RDKafkaErrorCode,
        text: String,
    },
    /// The call itself is wrong.
    #[error("{0}")]
    Invalid(&'static str),
}

/// As long as librdkafka lets a request take: see the crate's documentation.
const NEVER: c_int = 3_600_000;

/// librdkafka's length of an error text.
const ERROR_LENGTH: usize = 512;

/// The offsets that a group has committed for `partitions`, or for all partitions that it has any for. Asks the group's
/// coordinator. Blocks for `within` at most.
///
/// # Errors
/// See [`Failure`]. A partition's own error is in its [`Committed`].
pub fn committed<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    group: &str,
    partitions: Option<&TopicPartitionList>,
    within: Duration,
) -> Result<Vec<Committed>, Failure> {
    if consumer.group_metadata().is_none() {
        return Err(Failure::Invalid("the client has no group.id"));
    }
    let group = CString::new(group).map_err(|_| Failure::Invalid("a group's name has a zero"))?;
    let client = consumer.client().native_ptr();
    let none = || Failure::Invalid("librdkafka is out of memory");

    // SAFETY: `client` is a live client, for the consumer is borrowed. Each of these gives an object of the caller's, or null,
    // and is freed by the function beside it, once, before this function returns.
    let (queue, options) = unsafe {
        let any = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
        (
            Owned::new(
                native::rd_kafka_queue_new(client),
                native::rd_kafka_queue_destroy,
            ),
            Owned::new(
                native::rd_kafka_AdminOptions_new(client, any),
                native::rd_kafka_AdminOptions_destroy,
            ),
        )
    };
    let (queue, options) = (queue.ok_or_else(none)?, options.ok_or_else(none)?);
    let mut error: [c_char; ERROR_LENGTH] = [0; ERROR_LENGTH];
    // SAFETY: the options are live, and the buffer is as long as it is said to be.
    let set = unsafe {
        native::rd_kafka_AdminOptions_set_request_timeout(
            options.native(),
            NEVER,
            error.as_mut_ptr(),
            error.len(),
        )
    };
    if set != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(refused(set, text_of(&error)));
    }
    let listed = partitions.map_or(std::ptr::null_mut(), TopicPartitionList::ptr);
    // SAFETY: the name ends with a zero, and the list is null or live, for it is borrowed; both are copied.
    let request = unsafe {
        Owned::new(
            native::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), listed),
            native::rd_kafka_ListConsumerGroupOffsets_destroy,
        )
    };
    let request = request.ok_or_else(none)?;
    // SAFETY: one request in an array of one, which is copied; client, options and queue are live.
    unsafe {
        let mut requests = [request.native()];
        native::rd_kafka_ListConsumerGroupOffsets(
            client,
            requests.as_mut_ptr(),
            requests.len(),
            options.native(),
            queue.native(),
        );
    }
    let wait = c_int::try_from(within.as_millis()).unwrap_or(NEVER);
    // SAFETY: the queue is live; an event is the caller's, and freed once. One that comes after the queue has been freed is
    // librdkafka's to free.
    let event = unsafe {
        Owned::new(
            native::rd_kafka_queue_poll(queue.native(), wait),
            native::rd_kafka_event_destroy,
        )
    };
    result_in(&event.ok_or(Failure::NoAnswer)?)
}

/// What an event of [`committed`]'s queue says.
fn result_in(event: &Owned<native::rd_kafka_event_t>) -> Result<Vec<Committed>, Failure> {
    // SAFETY: the event is live throughout this function, and so is all that these functions find in it. Their pointers are
    // checked for null, and arrays are as long as librdkafka says.
    unsafe {
        let code = native::rd_kafka_event_error(event.native());
        if code != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            let text = native::rd_kafka_event_error_string(event.native());
            return Err(refused(code, string_at(text)));
        }
        let result = native::rd_kafka_event_ListConsumerGroupOffsets_result(event.native());
        if result.is_null() {
            return Err(Failure::Invalid("librdkafka gave another kind of event"));
        }
        let mut count = 0;
        let groups =
            native::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
        if groups.is_null() || count == 0 {
            return Err(Failure::Invalid("librdkafka gave no group"));
        }
        let group = *groups;
        let error = native::rd_kafka_group_result_error(group);
        if !error.is_null() {
            let code = native::rd_kafka_error_code(error);
            let text = native::rd_kafka_error_string(error);
            return Err(refused(code, string_at(text)));
        }
        let list = native::rd_kafka_group_result_partitions(group);
        if list.is_null() {
            return Ok(Vec::new());
        }
        let length = usize::try_from((*list).cnt).unwrap_or_default();
        if length == 0 {
            return Ok(Vec::new());
        }
        let partitions = std::slice::from_raw_parts((*list).elems, length);
        Ok(partitions
            .iter()
            .map(|found| Committed {
                topic: string_at(found.topic),
                partition: found.partition,
                offset: match found.err {
                    native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                        // "Invalid", which is below zero, stands for none.
                        Ok(Some(found.offset).filter(|offset| *offset >= 0))
                    }
                    code => Err(code.into()),
                },
            })
            .collect())
    }
}

/// Gives a client the token of its next logins by SASL/OAUTHBEARER. `ends` is in milliseconds since 1970 and to come.
///
/// # Errors
/// Why librdkafka doesn't take it; the text holds no token.
pub fn set_token<C: ClientContext>(
    client: &Client<C>,
    token: &str,
    principal: &str,
    ends: i64,
    extensions: &[(String, String)],
) -> Result<(), Failure> {
    const ZERO: Failure = Failure::Invalid("a token or an extension has a zero");
    let strings = |text: &str| CString::new(text).map_err(|_| ZERO);
    let (token, principal) = (strings(token)?, strings(principal)?);
    let extensions = extensions
        .iter()
        .flat_map(|(name, value)| [name, value])
        .map(|text| strings(text))
        .collect::<Result<Vec<_>, _>>()?;
    let mut pointers: Vec<*const c_char> = extensions.iter().map(|text| text.as_ptr()).collect();
    let mut error: [c_char; ERROR_LENGTH] = [0; ERROR_LENGTH];
    // SAFETY: the client is live, for it is borrowed. All strings end with a zero, live until after the call, and are copied by
    // it; the array is as long as it is said to be, and so is the buffer.
    let code = unsafe {
        native::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            token.as_ptr(),
            ends,
            principal.as_ptr(),
            pointers.as_mut_ptr(),
            pointers.len(),
            error.as_mut_ptr(),
            error.len(),
        )
    };
    match code {
        native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(refused(code, text_of(&error))),
    }
}

fn refused(code: native::rd_kafka_resp_err_t, text: String) -> Failure {
    let code = RDKafkaErrorCode::from(code);
    let text = match text.is_empty() {
        true => code.to_string(),
        false => text,
    };
    Failure::Refused { code, text }
}

/// The text in a buffer that librdkafka wrote into, which is full of zeros where it didn't.
fn text_of(buffer: &[c_char; ERROR_LENGTH]) -> String {
    let bytes: Vec<u8> = buffer
        .iter()
        .take_while(|byte| **byte != 0)
        .map(|byte| byte.to_ne_bytes()[0])
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// # Safety
/// `text` is null, or ends with a zero and lives as long as the call.
unsafe fn string_at(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}
