//! What goes wrong between a scaler and its server, and what is said of it.

use std::time::Instant;

use futures::future::join_all;

use super::*;
use crate::bystanders::{canned, connections_to, failing_polls, nobody, tasks};

/// A reading that fails, and how long it took.
async fn fails(trigger: &Trigger) -> (String, Duration) {
    let asked = Instant::now();
    let text = refusal_of(trigger).await;
    (text, asked.elapsed())
}

#[tokio::test]
async fn what_answers_wrongly_is_told_apart() {
    let without = |port: u16| {
        Trigger::new("redis").metadata([
            ("listName", "orders"),
            ("address", format!("127.0.0.1:{port}").as_str()),
        ])
    };
    let table: &[(&'static [u8], &str)] = &[
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "malformed answer: the answer is not in Redis' protocol",
        ),
        (
            b"$5\r\nhello\r\n",
            "malformed answer: the answer is not the name of a type",
        ),
        (
            b"*1\r\n:3\r\n",
            "malformed answer: the answer is not the name of a type",
        ),
        (
            b"-LOADING Redis is loading the dataset in memory\r\n",
            "unreachable: LOADING Redis is loading the dataset in memory",
        ),
        (
            b"-DENIED Redis is running in protected mode\r\n",
            "unauthorized: DENIED Redis is running in protected mode",
        ),
    ];
    for (answer, expected) in table {
        let port = canned(answer);
        let (text, _) = fails(&without(port)).await;
        let place = format!("key \"orders\" of Redis at 127.0.0.1:{port}: ");
        assert_eq!(text.replacen(&place, "", 1), *expected);
    }
    for (answer, expected) in [
        (
            &b":1\r\n"[..],
            "malformed answer: the answer to the login is neither OK nor a refusal",
        ),
        (
            b"nonsense\r\n",
            "malformed answer: the answer is not in Redis' protocol",
        ),
    ] {
        let port = canned(answer);
        let (text, _) = fails(&list(&format!("127.0.0.1:{port}"), "orders")).await;
        let place = format!("key \"orders\" of Redis at 127.0.0.1:{port}: ");
        assert_eq!(text.replacen(&place, "", 1), expected);
    }
    // Lengths that are none, of a key that has a type.
    for length in [&b":-3\r\n"[..], b"$1\r\n3\r\n", b"$-1\r\n"] {
        let (text, _) = fails(&without(scripted(&[b"+list\r\n", length]))).await;
        assert!(
            text.starts_with("malformed answer:") && text.ends_with(": the answer is not a number"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_server_older_than_redis_7_has_no_lag() {
    let port = scripted(&[b"$25\r\nredis_version:6.2.6\r\nos:x\r\n"]);
    let lag = Trigger::new("redis-streams").metadata([
        ("address", format!("127.0.0.1:{port}").as_str()),
        ("stream", "orders"),
        ("consumerGroup", "workers"),
        ("lagCount", "5"),
    ]);
    let (text, _) = fails(&lag).await;
    assert!(
        text.ends_with(": redis version 7+ required for lag"),
        "{text}"
    );
}

#[tokio::test]
async fn a_server_older_than_redis_6_has_no_users() {
    let port = scripted(&[
        b"-ERR wrong number of arguments for 'auth' command\r\n",
        b"+OK\r\n",
        b"+list\r\n",
        b":3\r\n",
    ]);
    let address = format!("127.0.0.1:{port}");
    assert_eq!(value_of(&list(&address, "orders")).await, Ok(3.0));
    let port = scripted(&[b"-ERR wrong number of arguments for 'auth' command\r\n"]);
    let user = list(&format!("127.0.0.1:{port}"), "orders").metadata([("username", "orders")]);
    let (text, _) = fails(&user).await;
    assert!(text.starts_with("unauthorized:"), "{text}");
}

/// The port of a server that answers its first connection's questions with these, one after the other.
fn scripted(answers: &[&'static [u8]]) -> u16 {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = answers.to_vec();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for answer in answers {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        }
        let _ = stream.read_to_end(&mut Vec::new());
    });
    port
}

#[tokio::test]
async fn an_answer_without_end_is_not_taken() {
    // The first line of a text of a gigabyte, and as much of it as anybody reads.
    let port = endless(b"$1000000000\r\n");
    let trigger = Trigger::new("redis").metadata([
        ("listName", "orders"),
        ("address", format!("127.0.0.1:{port}").as_str()),
    ]);
    let (text, _) = fails(&trigger).await;
    assert!(
        text.starts_with("malformed answer:") && text.contains("the answer is larger than 1 MiB"),
        "{text}"
    );
}

/// The port of a server that begins like this and goes on for ever.
fn endless(start: &'static [u8]) -> u16 {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(start);
            while stream.write_all(&[b'x'; 65536]).is_ok() {}
        }
    });
    port
}

#[tokio::test]
async fn a_server_that_is_down_or_hangs_is_unreachable_in_bounded_time() {
    let down = list(&format!("127.0.0.1:{}", nobody()), "orders");
    let (text, took) = fails(&down).await;
    assert!(
        text.starts_with("unreachable: key \"orders\" of Redis at 127.0.0.1:"),
        "{text}"
    );
    assert!(text.contains("refused"), "{text}");
    assert!(took < Duration::from_secs(5), "{took:?}");

    let address = format!("127.0.0.1:{}", canned(b""));
    let nameless = Trigger::new("redis").metadata([("listName", "orders"), ("address", &address)]);
    for (trigger, sentence, most) in [
        (list(&address, "orders"), "no connection within 10s", 14),
        // Without a login it is connected before anything is asked.
        (nameless, "no answer within 5s", 8),
    ] {
        let (text, took) = fails(&trigger).await;
        assert!(
            text.starts_with("unreachable:") && text.contains(sentence),
            "{text}"
        );
        assert!(took < Duration::from_secs(most), "{took:?}");
    }
    let unknown = list("no-such-host.invalid:6379", "orders");
    let (text, _) = fails(&unknown).await;
    assert!(
        text.starts_with("unreachable: key \"orders\" of Redis at no-such-host.invalid:6379"),
        "{text}"
    );
}

#[tokio::test]
async fn a_server_that_goes_down_comes_back_on_the_same_scaler() {
    let mut redis = Redis::start().await.unwrap();
    redis.push("orders", 7).await.unwrap();
    let scaler = scaler(&context(), &list(&redis.address(), "orders"));
    assert_eq!(value(&*scaler).await, Ok(7.0));
    redis.kill();
    for _ in 0..200 {
        let error = value(&*scaler).await.unwrap_err();
        assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
        told(&error);
    }
    assert_eq!(connections_to(redis.port()), 0);
    redis.restart().await.unwrap();
    assert_eq!(recovers(&*scaler).await, 7.0);

    // A restart between two polls is noticed by nobody.
    redis.restart().await.unwrap();
    assert_eq!(recovers(&*scaler).await, 7.0);
}

#[tokio::test]
async fn a_server_that_hangs_costs_a_bounded_wait_and_no_socket() {
    let redis = Redis::start().await.unwrap();
    redis.push("orders", 7).await.unwrap();
    let scaler = scaler(&context(), &list(&redis.address(), "orders"));
    assert_eq!(value(&*scaler).await, Ok(7.0));
    redis.pause();
    let asked = Instant::now();
    let text = told(&value(&*scaler).await.unwrap_err());
    assert!(asked.elapsed() < Duration::from_secs(8));
    assert!(
        text.starts_with("unreachable:") && text.contains("no answer within 5s"),
        "{text}"
    );
    eventually("socket given up", SOON, async || {
        Ok((connections_to(redis.port()) == 0).then_some(()))
    })
    .await
    .unwrap();
    redis.resume();
    assert_eq!(recovers(&*scaler).await, 7.0);
}

#[tokio::test]
async fn what_is_not_allowed_is_unauthorized() {
    let redis = Redis::start().await.unwrap();
    redis.push("orders", 7).await.unwrap();
    redis
        .run(&[
            "ACL", "SETUSER", "blind", "on", ">hunter4", "~basket", "+@all", "-llen",
        ])
        .await
        .unwrap();
    let address = redis.address();
    let wrong = list(&address, "orders").authentication([("password", "hunter9")]);
    let nobody = list(&address, "orders").metadata([("username", "nobody")]);
    let nameless = Trigger::new("redis").metadata([("listName", "orders"), ("address", &address)]);
    let blind = [("username", "blind"), ("password", "hunter4")];
    let other_key = list(&address, "orders").metadata(blind);
    let no_command = list(&address, "basket").metadata(blind);
    let no_database = list(&address, "orders").metadata([("databaseIndex", "99")]);
    for (trigger, class, part) in [
        (
            wrong,
            "unauthorized",
            "WRONGPASS invalid username-password pair",
        ),
        (nobody, "unauthorized", "WRONGPASS"),
        (nameless, "unauthorized", "NOAUTH Authentication required"),
        (other_key, "unauthorized", "NOPERM"),
        (no_command, "unauthorized", "NOPERM"),
        (
            no_database,
            "not found",
            "can't select database 99: ERR DB index is out of range",
        ),
    ] {
        let (text, _) = fails(&trigger).await;
        let place = format!(" of Redis at {address}: ");
        assert!(
            text.starts_with(class) && text.contains(&place) && text.contains(part),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_wrong_password_backs_off_and_a_new_one_is_tried_at_once() {
    let redis = Redis::start().await.unwrap();
    let context = context();
    let wrong = list(&redis.address(), "orders").authentication([("password", "hunter9")]);
    let scalers: Vec<_> = (0..20).map(|_| scaler(&context, &wrong)).collect();
    let started = Instant::now();
    let now = Freshness::now();
    while started.elapsed() < Duration::from_secs(5) {
        for error in join_all(scalers.iter().map(|scaler| scaler.read(&now))).await {
            let error = error.unwrap_err();
            assert!(matches!(error, ScalerError::Unauthorized(_)), "{error}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stats = redis.run(&["INFO", "commandstats"]).await.unwrap();
    let tried = stats.lines().find_map(|line| {
        let (_, rest) = line
            .strip_prefix("cmdstat_auth:")?
            .split_once("failed_calls=")?;
        rest.trim().parse::<u32>().ok()
    });
    // At 0 s, 1 s, 3 s, with jitter perhaps one more.
    assert!((2..=4).contains(&tried.unwrap()), "{tried:?} attempts");
    assert_eq!(
        value(&*scaler(&context, &list(&redis.address(), "orders"))).await,
        Ok(0.0)
    );
}

#[tokio::test]
async fn a_refused_command_does_not_tell_the_password() {
    // As a server answers that doesn't know AUTH.
    let port =
        canned(b"-ERR unknown command 'AUTH', with args beginning with: 'default' 'hunter2' \r\n");
    let (text, _) = fails(&list(&format!("127.0.0.1:{port}"), "orders")).await;
    assert!(
        text.starts_with("unauthorized:") && text.ends_with("ERR unknown command 'AUTH'"),
        "{text}"
    );
}

#[tokio::test]
async fn a_thousand_failing_polls_leave_nothing_behind() {
    let redis = Redis::start().await.unwrap();
    redis.run(&["SET", "string", "x"]).await.unwrap();
    let context = context();
    let wrong_type = scaler(&context, &list(&redis.address(), "string"));
    let wrong_password = list(&redis.address(), "orders").authentication([("password", "hunter9")]);
    let wrong_password = scaler(&context, &wrong_password);
    let closed = nobody();
    let down = scaler(&context, &list(&format!("127.0.0.1:{closed}"), "orders"));
    let nonsense = canned(b"nonsense\r\n");
    let nonsense_scaler = scaler(&context, &list(&format!("127.0.0.1:{nonsense}"), "orders"));
    let seeds = format!("127.0.0.1:{closed},127.0.0.1:{nonsense}");
    let cluster = trigger("redis-cluster", &seeds).metadata([("listName", "orders")]);
    let cluster = scaler(&context, &cluster);
    let sentinel = trigger("redis-sentinel", &seeds)
        .metadata([("listName", "orders"), ("sentinelMaster", "shop")])
        .authentication([("sentinelPassword", PASSWORD)]);
    let sentinel = scaler(&context, &sentinel);
    let all = [
        &wrong_type,
        &wrong_password,
        &down,
        &nonsense_scaler,
        &cluster,
        &sentinel,
    ];
    for scaler in all {
        failing_polls(&**scaler, 1).await;
    }
    let open = || [redis.port(), closed, nonsense].map(connections_to);
    let settled = eventually("ended attempts", SOON, async || {
        Ok((open() == [1, 0, 0]).then_some(()))
    });
    settled.await.unwrap();
    let before = tasks();
    for scaler in all {
        failing_polls(&**scaler, 1000).await;
    }
    eventually("as many as before", SOON, async || {
        Ok((open() == [1, 0, 0] && tasks() <= before).then_some(()))
    })
    .await
    .unwrap();
}
