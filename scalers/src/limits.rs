//! What holds for all answers, from wherever they come: how a limit is told, room in memory for those that are large, and threads
//! for taking them apart.
//!
//! Each client says how much it takes of one answer. What many answers may take together is said here: hundreds of hostile
//! sources must not add up.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, SeqAccess, Visitor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::scaler::ScalerError;

/// The error for what is larger than `limit` bytes.
pub fn too_large(limit: usize) -> ScalerError {
    ScalerError::Malformed(format!("the answer is larger than {}", size(limit)))
}

/// `10 MiB`, `64 KiB`.
pub fn size(bytes: usize) -> String {
    const KIB: usize = 1024;
    match bytes {
        bytes if bytes >= KIB * KIB => format!("{} MiB", bytes / (KIB * KIB)),
        bytes => format!("{} KiB", bytes / KIB),
    }
}

/// What JSON is read to: as deep as the library goes where it keeps what it reads. Where it skips a value it would go on without end.
const DEEPEST: usize = 128;

/// Reads JSON, of which nothing is repeated in errors but the names of fields.
///
/// # Errors
/// By its depth, or the library's own words.
pub fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, NotJson> {
    if nests_deeper(json, DEEPEST) {
        return Err(NotJson::Deep);
    }
    serde_json::from_slice(json).map_err(NotJson::Other)
}

/// Why a JSON text can't be read.
#[derive(Debug, thiserror::Error)]
pub enum NotJson {
    #[error("the answer nests deeper than {DEEPEST} levels")]
    Deep,
    #[error(transparent)]
    Other(serde_json::Error),
}

/// Whether lists and objects nest deeper than that.
fn nests_deeper(json: &[u8], than: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > than {
            return true;
        }
    }
    false
}

/// The most of a text that is repeated, in bytes. Servers write their messages themselves; what holds the whole sentence of an honest
/// one fits a condition and an Event.
const LONGEST_TEXT: usize = 1024;

/// A text that is not too long to be repeated, cut between characters.
pub fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        let mut end = LONGEST_TEXT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

/// Reads a list of at most `MOST`: for `deserialize_with`. In memory an element may be many times as large as the two bytes of `{}`.
///
/// # Errors
/// For a longer one, at the first element that is too many.
pub fn at_most<'de, const MOST: usize, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct List<T, const MOST: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut read = Vec::new();
            while let Some(element) = list.next_element()? {
                if read.len() == MOST {
                    return Err(A::Error::custom(format_args!(
                        "a list has more than {MOST} elements"
                    )));
                }
                read.push(element);
            }
            Ok(read)
        }
    }
    deserializer.deserialize_seq(List::<T, MOST>(PhantomData))
}

/// A larger answer waits for room, and is taken apart on a thread of its own: thousands of polls share a few threads, and a parser needs
/// milliseconds for a megabyte (a debug build fifty times that).
pub const LARGE: usize = 256 * 1024;

/// Room for large answers. Whoever finds none waits, within its own time limit. One place has only a part of it, so that a server
/// whose answers never end leaves room for those of others.
pub struct Room {
    all: Semaphore,
    of_one: usize,
    /// A place is remembered while it has room or waits for it.
    places: Mutex<BTreeMap<String, Weak<Semaphore>>>,
}

/// One answer's room, until it is dropped.
#[derive(Debug)]
pub struct Held {
    // Neither semaphore is ever closed, so both are there.
    _of_all: Option<SemaphorePermit<'static>>,
    _of_one: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// For so many answers, and so many of one place.
    pub const fn new(all: usize, of_one: usize) -> Self {
        Self {
            all: Semaphore::const_new(all),
            of_one,
            places: Mutex::new(BTreeMap::new()),
        }
    }

    /// Waits for room for an answer of this place.
    pub async fn enter(&'static self, place: &str) -> Held {
        let of_one = self.place(place).acquire_owned().await.ok();
        Held {
            _of_all: self.all.acquire().await.ok(),
            _of_one: of_one,
        }
    }

    fn place(&self, place: &str) -> Arc<Semaphore> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = places.get(place).and_then(Weak::upgrade) {
            return known;
        }
        places.retain(|_, known| known.strong_count() > 0);
        let new = Arc::new(Semaphore::new(self.of_one));
        places.insert(place.to_owned(), Arc::downgrade(&new));
        new
    }
}

/// Large answers that are taken apart at the same time. It takes the processor, which the scaling needs too, and what comes out of
/// a document may be many times as large as the document.
const PARSERS: usize = 2;
static TURNS: Semaphore = Semaphore::const_new(PARSERS);

/// Does what takes long on a thread that polls don't need.
pub async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // Goes along, since the work goes on when nobody waits for it any more. Never closed.
    let turn = TURNS.acquire().await;
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    match done.await {
        Ok(done) => done,
        // It never ends but by a panic, which is told where all panics of scalers are.
        Err(ended) => std::panic::resume_unwind(ended.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn limits_are_told_in_their_unit() {
        let told = too_large(10 << 20).to_string();
        assert_eq!(told, "malformed answer: the answer is larger than 10 MiB");
        assert_eq!(size(64 << 10), "64 KiB");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let cut = shortened("ä".repeat(1000));
        assert!(
            cut.len() <= LONGEST_TEXT + 3 && cut.ends_with("ä…"),
            "{cut}"
        );
        assert_eq!(shortened("short".to_owned()), "short");
    }

    #[test]
    fn json_has_a_depth() {
        let read = |text: &str| {
            let read = from_json::<serde::de::IgnoredAny>(text.as_bytes());
            read.map_err(|error| error.to_string()).err()
        };
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(read(&deep(128)), None);
        let told = read(&deep(129));
        assert_eq!(told.unwrap(), "the answer nests deeper than 128 levels");
        assert!(
            read(&"{\"a\":[".repeat(10_000))
                .unwrap()
                .contains("nests deeper")
        );
        assert_eq!(
            read(&format!("{:?}", "\"[\\".repeat(10_000))),
            None,
            "a text"
        );
        assert!(read("[hunter2").unwrap().starts_with("expected"));
    }

    #[test]
    fn lists_have_an_end() {
        #[derive(serde::Deserialize)]
        struct Three {
            #[serde(default, deserialize_with = "at_most::<3, _, _>")]
            list: Vec<u8>,
        }
        let read = |text: &str| serde_json::from_str::<Three>(text).map(|three| three.list);
        assert_eq!(read("{}").unwrap(), [0; 0]);
        assert_eq!(read(r#"{"list": [1, 2, 3]}"#).unwrap(), [1, 2, 3]);
        let error = read(r#"{"list": [1, 2, 3, 4]}"#).unwrap_err().to_string();
        assert!(
            error.starts_with("a list has more than 3 elements"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn one_place_leaves_room_for_others() {
        static ROOM: Room = Room::new(3, 2);
        let hostile = [ROOM.enter("a").await, ROOM.enter("a").await];
        assert!(ROOM.enter("a").now_or_never().is_none());
        let other = ROOM.enter("b").await;
        assert!(ROOM.enter("c").now_or_never().is_none(), "it is full");
        drop(other);
        let _other = ROOM.enter("c").await;
        drop(hostile);
        ROOM.enter("a").await;
        let _last = ROOM.enter("d").await;
        let places = ROOM.places.lock().unwrap();
        assert!(places.len() <= 2, "{:?}", places.keys());
    }
}
