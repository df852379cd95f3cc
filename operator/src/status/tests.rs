//! Patches are small, and few.

use std::convert::Infallible;

use kube::client::Body;

use super::*;

#[test]
fn a_patch_holds_only_what_differs() {
    let from = json!({"a": 1, "list": [1, 2], "map": {"x": {"isActive": true}, "y": {"isActive": true}}, "old": "1"});
    let to = json!({"a": 1, "list": [1], "map": {"x": {"isActive": false}}, "new": 2});
    assert_eq!(
        merge_patch(&from, &to),
        Some(
            json!({"list": [1], "map": {"x": {"isActive": false}, "y": null}, "old": null, "new": 2})
        )
    );
    assert_eq!(merge_patch(&from, &from), None);
}

type Patches = Arc<Mutex<Vec<Value>>>;

/// A writer for one ScaledObject, what the API server got of it, and the gate behind which it stands back.
fn writer() -> (Arc<StatusWriter>, ObjectKey, Patches, Arc<Gate>) {
    writer_to(|_| 200)
}

/// The same with an API server whose answers have these status codes, by the number of writes before.
fn writer_to(
    code: impl Fn(usize) -> u16 + Clone + Send + 'static,
) -> (Arc<StatusWriter>, ObjectKey, Patches, Arc<Gate>) {
    let patches = Patches::default();
    let taken = patches.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (taken, code) = (taken.clone(), code.clone());
        async move {
            let body = request.into_body().collect_bytes().await.unwrap();
            let before = {
                let mut taken = lock(&taken);
                taken.push(serde_json::from_slice(&body).unwrap());
                taken.len() - 1
            };
            let answer = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "web"}});
            let answer = match code(before) {
                200 => answer,
                code => {
                    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no", "reason": "No", "code": code})
                }
            };
            let response = http::Response::builder().status(code(before));
            let answer = Body::from(answer.to_string().into_bytes());
            Ok::<_, Infallible>(response.body(answer).unwrap())
        }
    });
    let objects = Arc::new(Objects::default());
    let key = ObjectKey::new("shop", "web");
    let spec = json!({"scaleTargetRef": {"name": "web"}, "triggers": []});
    let object = ScaledObject::new("web", serde_json::from_value(spec).unwrap());
    objects.apply(&key, Arc::new(object));
    let bounds = Arc::new(Gate::new(1, Duration::from_secs(60)));
    let client = Client::new(service, "shop");
    let writer = StatusWriter::new(client, objects, bounds.clone());
    (writer, key, patches, bounds)
}

fn paused_at(replicas: i32) -> ObjectStatus {
    ObjectStatus {
        paused_replicas: Some(replicas),
        ..ObjectStatus::default()
    }
}

#[tokio::test]
async fn what_comes_while_floors_are_set_is_written_once() {
    let (writer, key, patches, bounds) = writer();
    let floors_are_set = Notify::new();
    let writes = async {
        for replicas in 1..=3 {
            writer.write(key.clone(), paused_at(replicas));
            tokio::task::yield_now().await;
        }
        assert!(lock(&patches).is_empty(), "it does not stand back");
        floors_are_set.notify_one();
        while lock(&writer.waiting).contains_key(&key) {
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(bounds.pass(floors_are_set.notified()), writes);
    let written = lock(&patches).clone();
    assert_eq!(written.len(), 1);
    assert_eq!(written[0]["status"]["pausedReplicaCount"], 3);
}

#[tokio::test]
async fn a_status_that_somebody_waits_for_does_not_stand_back() {
    let (writer, key, patches, bounds) = writer();
    let other_floors = bounds.pass(std::future::pending::<()>());
    let waits = async {
        writer.write(key.clone(), paused_at(1));
        tokio::task::yield_now().await;
        writer.settled(&key).await;
        lock(&patches).len()
    };
    let written = tokio::select! {
        biased;
        () = other_floors => 0,
        written = waits => written,
    };
    assert_eq!(written, 1);
}

async fn written(writer: &StatusWriter, key: &ObjectKey) {
    while lock(&writer.waiting).contains_key(key) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether the API server did what it has no good answer to, nobody knows: the next write has to be right either way.
#[tokio::test]
async fn after_a_write_without_an_answer_the_next_one_undoes_it() {
    let (writer, key, patches, _) = writer_to(|before| if before == 1 { 500 } else { 200 });
    writer.write(key.clone(), paused_at(1));
    written(&writer, &key).await;
    let failed = writer.write_once(&key, &paused_at(2)).await;
    assert!(failed.is_err());
    writer.write_once(&key, &paused_at(1)).await.unwrap();
    let patches = lock(&patches).clone();
    assert_eq!(patches.len(), 3, "{patches:?}");
    assert_eq!(patches[2]["status"]["pausedReplicaCount"], 1);
    // And that is known to stand there.
    writer.write_once(&key, &paused_at(1)).await.unwrap();
    assert_eq!(lock(&writer.uncertain).len(), 0);
}

#[test]
fn what_is_refused_is_wanted_all_the_same() {
    let refused = |code: u16| {
        kube::Error::Api(Box::new(kube::core::Status {
            code,
            ..kube::core::Status::default()
        }))
    };
    for code in [400, 403, 422] {
        assert!(is_refused(&refused(code)) && !is_final(&refused(code)));
    }
    for code in [404, 409] {
        assert!(is_final(&refused(code)));
    }
}

#[test]
fn the_targets_that_others_write_stay() {
    let status = |sakidori: Value| -> ScaledObjectStatus {
        serde_json::from_value(json!({"sakidori": sakidori})).unwrap()
    };
    let targets = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}]);
    let only = status(json!({"resizedTargets": targets}));
    assert_eq!(own_part(only), ScaledObjectStatus::default());
    let both = status(json!({"resizedTargets": targets, "prescaling": {}}));
    let as_json = |status: &ScaledObjectStatus| serde_json::to_value(status).unwrap();
    let before = as_json(&own_part(both));
    assert_eq!(before["sakidori"], json!({"prescaling": {}}));
    // The last sale is over.
    let mut patch = merge_patch(&before, &as_json(&ScaledObjectStatus::default())).unwrap();
    spare_others(&mut patch);
    assert_eq!(patch, json!({"sakidori": {"prescaling": null}}));
}
