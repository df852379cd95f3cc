//! Users of etcd's, their permissions and their tokens.

use std::time::Duration;

use sakidori_scalers::{Pushes, ScalerError, Trigger};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::Etcd;
use tokio::time::timeout;

use super::{SOON, scaler, trigger, until, value};

fn as_user(trigger: Trigger, user: &str, password: &str) -> Trigger {
    trigger.authentication([("username", user), ("password", password)])
}

#[tokio::test]
async fn users_are_let_in_and_others_are_not() {
    let mut etcd = Etcd::start().await.unwrap();
    etcd.put("k", "7").await.unwrap();
    etcd.put("other", "7").await.unwrap();
    let at = |key: &str| trigger(&etcd.endpoints(), key);
    // A user is no hindrance while there are none.
    let early = as_user(at("k"), "app", "hunter2");
    let early = scaler(&early);
    assert_eq!(value(&*early).await, Ok(7.0));

    etcd.create_user("app", "hunter2", "k").await.unwrap();
    etcd.enable_authentication().await.unwrap();
    let at = |key: &str| trigger(&etcd.endpoints(), key);
    // It logs in when that is wanted.
    assert_eq!(value(&*early).await, Ok(7.0));
    for (trigger, shown) in [
        (at("k"), "user name is empty"),
        (
            as_user(at("k"), "app", "wrong-hunter3"),
            "authentication failed",
        ),
        (
            as_user(at("k"), "nobody", "hunter2"),
            "authentication failed",
        ),
        (as_user(at("other"), "app", "hunter2"), "permission denied"),
    ] {
        let error = value(&*scaler(&trigger)).await.unwrap_err();
        assert!(
            matches!(&error, ScalerError::Unauthorized(text) if text.contains(shown)),
            "{error}"
        );
        let error = error.to_string();
        assert!(error.contains(&etcd.endpoints()), "{error}");
        assert!(!error.contains("hunter"), "{error}");
    }
}

#[tokio::test]
async fn a_token_that_ends_is_renewed() {
    let mut etcd = Etcd::start_with_tokens_of(1).await.unwrap();
    etcd.put("k", "7").await.unwrap();
    etcd.create_user("app", "hunter2", "k").await.unwrap();
    etcd.enable_authentication().await.unwrap();
    let scaler = scaler(&as_user(trigger(&etcd.endpoints(), "k"), "app", "hunter2"));
    assert_eq!(value(&*scaler).await, Ok(7.0));
    // Unused for longer than it is good: there is nothing to see of it but the time.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(value(&*scaler).await, Ok(7.0));

    etcd.change_password("app", "other").await.unwrap();
    let refused = eventually("refusal", SOON, async || Ok(value(&*scaler).await.err()));
    let refused = refused.await.unwrap();
    assert!(matches!(refused, ScalerError::Unauthorized(_)), "{refused}");
    etcd.change_password("app", "hunter2").await.unwrap();
    until(&*scaler, 7.0).await;
}

#[tokio::test]
async fn a_user_hears_of_puts_with_a_renewed_token() {
    let mut etcd = Etcd::start_with_tokens_of(1).await.unwrap();
    etcd.put("k", "0").await.unwrap();
    etcd.create_user("app", "hunter2", "k").await.unwrap();
    etcd.enable_authentication().await.unwrap();
    let scaler = scaler(&as_user(trigger(&etcd.endpoints(), "k"), "app", "hunter2"));
    assert_eq!(value(&*scaler).await, Ok(0.0));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let pushes = Pushes::default();
    let heard = eventually("push", SOON, async || {
        etcd.put("k", "9").await?;
        Ok(timeout(Duration::from_secs(1), pushes.until_active())
            .await
            .ok())
    });
    tokio::select! {
        () = scaler.push().unwrap().listen(&pushes) => panic!("it listens no more"),
        heard = heard => heard.unwrap(),
    }
}
