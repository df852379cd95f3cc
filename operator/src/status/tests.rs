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
    let patches = Patches::default();
    let taken = patches.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let taken = taken.clone();
        async move {
            let body = request.into_body().collect_bytes().await.unwrap();
            lock(&taken).push(serde_json::from_slice(&body).unwrap());
            let answer = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "web"}});
            let answer = Body::from(answer.to_string().into_bytes());
            Ok::<_, Infallible>(http::Response::new(answer))
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
