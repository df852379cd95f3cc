//! Who asks, where AWS checks it.

use std::time::Duration;

use sakidori_scalers::{ScalerError, Trigger};
use sakidori_test_servers::{Keys, Moto};

use super::{ACCOUNT, context, error, one_of_each, read_in};

fn with_keys(mut trigger: Trigger, id: &str, secret: &str) -> Trigger {
    for (name, value) in [("awsAccessKeyID", id), ("awsSecretAccessKey", secret)] {
        trigger
            .authentication
            .insert(name.to_owned(), value.to_owned());
    }
    trigger
}

#[tokio::test]
async fn wrong_keys_and_missing_permissions_are_unauthorized_for_every_type() {
    let moto = Moto::start().await.unwrap();
    let api = moto.api(ACCOUNT).unwrap();
    api.create_queue("work").await.unwrap();
    api.create_stream("work", 1).await.unwrap();
    api.create_table("work", true).await.unwrap();
    let Keys { id, secret } = api.create_user("all", "*").await.unwrap();
    let nobody = api.create_user("nobody", "iam:GetUser").await.unwrap();
    moto.check_signatures(true).await.unwrap();
    let context = context();
    for trigger in one_of_each(&moto.url(), "work") {
        let kind = trigger.kind.clone();
        for (why, id, secret) in [
            ("unknown", "AKIANOBODYKNOWSTHIS0", secret.as_str()),
            ("wrong", &id, "hunter2"),
            ("not permitted", &nobody.id, &nobody.secret),
        ] {
            let refused = with_keys(trigger.clone(), id, secret);
            let error = error(&context, &refused).await;
            assert!(
                matches!(&error, ScalerError::Unauthorized(text) if text.contains("\"work\"")),
                "{kind}, {why}: {error}"
            );
            assert!(!error.to_string().contains(secret), "{error}");
        }
        let let_in = with_keys(trigger, &id, &secret);
        let reading = read_in(&context, &let_in).await;
        assert!(reading.is_ok(), "{kind}: {reading:?}");
    }
}

/// The operator's own identity: where there is none, that is told before anything is asked.
#[tokio::test]
async fn who_has_no_identity_is_told_so() {
    // A machine that gives no identity answers nothing; where one does, this test has nothing to show.
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_some() {
        return;
    }
    let moto = super::moto().await;
    let [queue, ..] = one_of_each(&moto.url(), "nobodys");
    let mut queue = queue.metadata([("identityOwner", "operator")]);
    queue.authentication.clear();
    let context = context();
    let found = tokio::time::timeout(Duration::from_secs(60), error(&context, &queue));
    let found = found.await.unwrap();
    assert!(
        matches!(&found, ScalerError::Unauthorized(text) if text.contains("the operator has no identity on AWS")),
        "{found}"
    );
}
