//! What the fake kubelet decides about pods and their resizes, with a clock and pods that are made up.

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::nodes;

/// Kubelets, a clock, and pods as the API server would have them.
struct World {
    kubelets: Kubelets,
    now: Timestamp,
    pods: BTreeMap<String, Value>,
    version: u64,
}

impl World {
    /// One node with so many CPUs, on which a pod is Ready a second after it is bound.
    fn new(cpu: &str) -> World {
        let mut world = World {
            kubelets: Kubelets::new(Duration::from_secs(1), vec!["elsewhere".to_owned()]),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            pods: BTreeMap::new(),
            version: 0,
        };
        world.node(cpu, &json!({}));
        world
    }

    fn node(&mut self, cpu: &str, annotations: &Value) {
        let node = json!({
            "metadata": {"name": "node", "annotations": annotations},
            "status": {"allocatable": {"cpu": cpu, "memory": "100Gi"}},
        });
        self.kubelets
            .node_seen(&serde_json::from_value(node).unwrap());
    }

    /// A pod of one container that has that many CPUs, Ready.
    fn pod(&mut self, name: &str, cpu: &str, rest: &Value) {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": 1, "annotations": {}},
            "spec": {"nodeName": "node", "containers": [{"name": "app", "image": "none", "resources": sized(cpu)}]},
            "status": {"phase": "Pending", "qosClass": "Burstable"},
        });
        merge(&mut pod, rest);
        self.pods.insert(name.to_owned(), pod);
        self.seen(name);
    }

    fn seen(&mut self, name: &str) {
        self.version += 1;
        let pod = self.pods.get_mut(name).unwrap();
        pod["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let pod = serde_json::from_value(pod.clone()).unwrap();
        self.kubelets.pod_seen(pod, self.now);
    }

    fn resize(&mut self, name: &str, cpu: &str) {
        let pod = self.pods.get_mut(name).unwrap();
        pod["spec"]["containers"][0]["resources"] = sized(cpu);
        pod["metadata"]["generation"] = json!(pod["metadata"]["generation"].as_i64().unwrap() + 1);
        self.seen(name);
    }

    fn annotate(&mut self, name: &str, key: &str, value: &Value) {
        self.pods.get_mut(name).unwrap()["metadata"]["annotations"][key] = value.clone();
        self.seen(name);
    }

    fn gone(&mut self, name: &str) {
        self.pods.remove(name);
        self.kubelets.pod_gone(name);
    }

    /// Lets that much time pass, with all that is due meanwhile; gives the names of the pods that were written.
    fn pass(&mut self, time: Duration) -> Vec<String> {
        let end = after(self.now, time);
        let mut names = Vec::new();
        loop {
            let (writes, due) = self.kubelets.act(self.now);
            for write in &writes {
                names.push(write.name.clone());
                let pod = self.pods.get_mut(&write.name).unwrap();
                assert_eq!(
                    write.patch["metadata"]["resourceVersion"],
                    pod["metadata"]["resourceVersion"]
                );
                patch_status(&mut pod["status"], &write.patch["status"]);
                self.seen(&write.name);
                let version = Some(self.version.to_string());
                self.kubelets.written(write, version, self.now);
            }
            match due.filter(|due| *due <= end) {
                _ if !writes.is_empty() => {}
                Some(due) => self.now = self.now.max(due),
                None => break,
            }
        }
        self.now = end;
        names
    }

    fn condition(&self, name: &str, kind: &str) -> Option<&Value> {
        let conditions = self.pods[name]["status"]["conditions"].as_array()?;
        conditions.iter().find(|it| it["type"] == kind)
    }

    fn pending(&self, name: &str) -> Option<&str> {
        self.condition(name, "PodResizePending")?["reason"].as_str()
    }

    /// The CPUs that the container has.
    fn actual(&self, name: &str) -> &Value {
        &self.pods[name]["status"]["containerStatuses"][0]["resources"]["requests"]["cpu"]
    }
}

fn sized(cpu: &str) -> Value {
    json!({"requests": {"cpu": cpu}})
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// As the API server does it for the fields that are written here.
fn patch_status(status: &mut Value, patch: &Value) {
    for (key, value) in patch.as_object().unwrap() {
        if key != "conditions" {
            status[key] = value.clone();
            continue;
        }
        let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        for condition in value.as_array().unwrap() {
            conditions.retain(|it| it["type"] != condition["type"]);
            if condition["$patch"] != "delete" {
                conditions.push(condition.clone());
            }
        }
        status["conditions"] = json!(conditions);
    }
}

const LONG: Duration = Duration::from_secs(10);

#[test]
fn a_pod_is_taken_on_before_it_is_ready_and_written_no_more_than_that() {
    let mut world = World::new("8");
    world.pod("web", "1", &json!({}));
    assert_eq!(world.pass(Duration::from_millis(900)), ["web"]);
    let status = &world.pods["web"]["status"];
    assert_eq!(status["phase"], "Pending");
    assert_eq!(status["startTime"], "2026-01-01T00:00:00Z");
    assert_eq!(
        world.condition("web", "Ready").unwrap()["reason"],
        "ContainersNotReady"
    );
    assert_eq!(world.pass(LONG), ["web"]);
    assert_eq!(world.pods["web"]["status"]["phase"], "Running");
    assert_eq!(world.condition("web", "Ready").unwrap()["status"], "True");
    assert_eq!(world.pass(LONG), [""; 0]);
}

#[test]
fn pods_of_other_kubelets_are_left_alone() {
    let mut world = World::new("8");
    world.pod("web", "1", &json!({"metadata": {"namespace": "elsewhere"}}));
    world.pod("over", "1", &json!({"status": {"phase": "Succeeded"}}));
    world.pod(
        "going",
        "1",
        &json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
    );
    assert_eq!(world.pass(LONG), [""; 0]);
}

#[test]
fn a_resize_takes_two_writes() {
    let mut world = World::new("8");
    world.pod("web", "1", &json!({}));
    world.pass(LONG);
    world.resize("web", "2");
    assert_eq!(world.pass(Duration::from_millis(100)), ["web"]);
    assert_eq!(
        world.condition("web", "PodResizeInProgress").unwrap()["observedGeneration"],
        2
    );
    assert_eq!(world.actual("web"), "1");
    assert_eq!(world.pass(LONG), ["web"]);
    assert_eq!(world.condition("web", "PodResizeInProgress"), None);
    assert_eq!(world.actual("web"), "2");
    assert_eq!(
        world.condition("web", "Ready").unwrap()["observedGeneration"],
        2
    );
}

#[test]
fn room_goes_to_the_priority_then_the_class_then_who_has_waited_longest() {
    let mut world = World::new("10");
    world.pod("full", "5", &json!({}));
    for (name, rest) in [
        ("first", json!({})),
        ("second", json!({})),
        ("guaranteed", json!({"status": {"qosClass": "Guaranteed"}})),
        ("important", json!({"spec": {"priority": 10}})),
    ] {
        world.pod(name, "1", &rest);
    }
    world.pass(LONG);
    for name in ["first", "second", "guaranteed", "important"] {
        world.resize(name, "3");
        world.pass(LONG);
        assert_eq!(world.pending(name), Some("Deferred"));
    }
    let mut taken = Vec::new();
    for room in ["12", "14", "16", "18"] {
        world.node(room, &json!({}));
        world.pass(LONG);
        for name in ["first", "second", "guaranteed", "important"] {
            if world.pending(name).is_none() && !taken.contains(&name) {
                taken.push(name);
            }
        }
    }
    assert_eq!(taken, ["important", "guaranteed", "first", "second"]);
}

#[test]
fn one_that_asks_for_less_goes_before_one_that_asks_for_more() {
    let mut world = World::new("4");
    world.pod("a-grows", "1", &json!({}));
    world.pod("b-shrinks", "3", &json!({}));
    world.pass(LONG);
    world.resize("a-grows", "2");
    world.resize("b-shrinks", "1");
    world.pass(Duration::ZERO);
    // What is in use still counts until it is given back.
    assert_eq!(world.pending("a-grows"), Some("Deferred"));
    world.pass(LONG);
    assert_eq!(world.actual("a-grows"), "2");
    assert_eq!(world.actual("b-shrinks"), "1");
}

#[test]
fn a_pod_that_has_ended_keeps_no_room() {
    let mut world = World::new("4");
    world.pod("web", "1", &json!({}));
    world.pod("job", "3", &json!({}));
    world.pass(LONG);
    world.resize("web", "2");
    world.pass(LONG);
    assert_eq!(world.pending("web"), Some("Deferred"));
    world.pods.get_mut("job").unwrap()["status"]["phase"] = json!("Succeeded");
    world.seen("job");
    world.pass(LONG);
    assert_eq!(world.actual("web"), "2");
    world.gone("job");
    assert_eq!(world.pass(LONG), [""; 0]);
}

#[test]
fn what_is_infeasible_is_looked_at_again_with_the_next_resize_only() {
    let mut world = World::new("4");
    world.pod("web", "1", &json!({}));
    world.pass(LONG);
    world.resize("web", "5");
    world.pass(LONG);
    assert_eq!(world.pending("web"), Some("Infeasible"));
    world.node("8", &json!({}));
    world.pass(LONG);
    assert_eq!(world.pending("web"), Some("Infeasible"));
    world.resize("web", "6");
    world.pass(LONG);
    assert_eq!(
        (world.pending("web"), world.actual("web")),
        (None, &json!("6"))
    );
}

#[test]
fn a_resize_that_is_taken_back_is_not_pending() {
    let mut world = World::new("4");
    world.pod("web", "1", &json!({}));
    world.pod("other", "3", &json!({}));
    world.pass(LONG);
    for (cpu, reason) in [("2", "Deferred"), ("5", "Infeasible")] {
        world.resize("web", cpu);
        world.pass(LONG);
        assert_eq!(world.pending("web"), Some(reason));
        world.resize("web", "1");
        world.pass(LONG);
        assert_eq!(world.pending("web"), None, "after {reason}");
    }
}

#[test]
fn the_knobs_are_looked_at_at_any_time() {
    let mut world = World::new("8");
    world.node("8", &json!({nodes::RESIZE_DEFERRED_ANNOTATION: "not now"}));
    world.pod("web", "1", &json!({}));
    world.pass(LONG);
    world.resize("web", "2");
    world.pass(LONG);
    assert_eq!(
        world.condition("web", "PodResizePending").unwrap()["message"],
        "not now"
    );
    world.annotate("web", nodes::RESIZE_DEFERRED_ANNOTATION, &json!("false"));
    world.pass(LONG);
    assert_eq!(world.actual("web"), "2");
    // A kubelet that is down comes back.
    world.node("8", &json!({nodes::RESIZE_SILENT_ANNOTATION: "true"}));
    world.resize("web", "3");
    assert_eq!(world.pass(LONG), [""; 0]);
    world.node("8", &json!({}));
    world.pass(LONG);
    assert_eq!(world.actual("web"), "3");
}

#[test]
fn what_a_write_without_an_answer_has_told_is_taken_back_all_the_same() {
    let mut world = World::new("8");
    world.pod("web", "1", &json!({}));
    world.pass(LONG);
    world.resize("web", "2");
    let (writes, _) = world.kubelets.act(world.now);
    patch_status(
        &mut world.pods.get_mut("web").unwrap()["status"],
        &writes[0].patch["status"],
    );
    world.seen("web");
    world.kubelets.written(&writes[0], None, world.now);
    // It is in place before the API server can be told again.
    world.now = after(world.now, LONG);
    world.pass(LONG);
    assert_eq!(world.condition("web", "PodResizeInProgress"), None);
    assert_eq!(world.actual("web"), "2");
}

#[test]
fn a_write_that_fails_is_made_again() {
    let mut world = World::new("8");
    world.pod("web", "1", &json!({}));
    let (writes, _) = world.kubelets.act(world.now);
    world.kubelets.written(&writes[0], None, world.now);
    assert_eq!(world.pass(LONG), ["web", "web"]);
}
