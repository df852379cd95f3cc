//! The Helm chart's copy of the CRDs, and what `kubectl get` shows of them.

use std::fs;

use sakidori_api::crds;
use serde_json::{Value, json};

use crate::manifests::{parse, repository};

/// `SAKIDORI_UPDATE=1 cargo test -p sakidori-api` writes the files instead of comparing them.
#[test]
fn the_chart_has_the_crds_of_the_types() {
    let folder = repository().join("charts/sakidori/files/crds");
    let files = crds::files();
    if std::env::var_os("SAKIDORI_UPDATE").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, content) in &files {
            fs::write(folder.join(name), content).unwrap();
        }
    }
    let mut there: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    let hint = "run `cargo run -p sakidori -- crds --dir charts/sakidori/files/crds`";
    assert_eq!(
        there,
        files
            .iter()
            .map(|(name, _)| name.clone())
            .collect::<Vec<_>>(),
        "{hint}"
    );
    for (name, content) in &files {
        let current = fs::read_to_string(folder.join(name)).unwrap();
        assert!(
            current == *content,
            "charts/sakidori/files/crds/{name} is not what the types give: {hint}"
        );
    }
}

#[test]
fn the_yaml_is_the_crds() {
    let yaml = crds::yaml();
    let documents: Vec<&str> = yaml
        .split("---\n")
        .filter(|document| !document.is_empty())
        .collect();
    let crds: Vec<Value> = crds::all()
        .iter()
        .map(|crd| serde_json::to_value(crd).unwrap())
        .collect();
    assert_eq!(documents.len(), crds.len());
    for ((document, crd), (name, file)) in documents.iter().zip(&crds).zip(crds::files()) {
        assert_eq!(parse(document), *crd);
        assert_eq!(parse(&file), *crd);
        assert_eq!(
            name,
            format!("{}.yaml", crd["metadata"]["name"].as_str().unwrap())
        );
    }
    assert_eq!(yaml, crds::yaml(), "the same bytes each time");
}

/// Both kinds of calendars have the same fields, and the page on them has each.
#[test]
fn every_field_of_a_calendar_is_in_the_documentation() {
    let page = fs::read_to_string(repository().join("docs/prescaling.md")).unwrap();
    let all = crds::all();
    let calendars = all.iter().filter(|crd| crd.spec.group == "sakidori.dev");
    let mut fields = 0;
    for crd in calendars {
        let crd = serde_json::to_value(crd).unwrap();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        for (name, field) in spec["properties"].as_object().unwrap() {
            let inner = field["items"]["properties"].as_object();
            let Some(inner) = inner else {
                assert!(page.contains(&format!("| `{name}` |")), "{name}");
                continue;
            };
            for field in inner.keys() {
                let told = [format!("`{name}[].{field}`"), format!("`{field}`")];
                assert!(
                    told.iter().any(|text| page.contains(text)),
                    "{name}[].{field}"
                );
                fields += 1;
            }
        }
    }
    assert!(fields > 30, "{fields} fields");
}

/// Name, type, path and priority, as KEDA's; `-o wide` shows those of priority 1.
#[test]
fn kubectl_shows_the_columns_that_keda_shows() {
    let condition = |kind: &str| format!(".status.conditions[?(@.type==\"{kind}\")].status");
    let (ready, active, fallback, paused) = (
        condition("Ready"),
        condition("Active"),
        condition("Fallback"),
        condition("Paused"),
    );
    let scaled_object = [
        ("ScaleTargetKind", "string", ".status.scaleTargetKind", 0),
        ("ScaleTargetName", "string", ".spec.scaleTargetRef.name", 0),
        ("Min", "integer", ".spec.minReplicaCount", 0),
        ("Max", "integer", ".spec.maxReplicaCount", 0),
        ("Ready", "string", &*ready, 0),
        ("Active", "string", &*active, 0),
        ("Fallback", "string", &*fallback, 0),
        ("Paused", "string", &*paused, 0),
        ("Triggers", "string", ".status.triggersTypes", 0),
        (
            "Authentications",
            "string",
            ".status.authenticationsTypes",
            0,
        ),
        ("Age", "date", ".metadata.creationTimestamp", 0),
    ];
    let cluster = [
        ("PodIdentity", "string", ".spec.podIdentity.provider", 0),
        ("Secret", "string", ".spec.secretTargetRef[*].name", 0),
        ("Env", "string", ".spec.env[*].name", 0),
        ("FilePath", "string", ".spec.filePath", 0),
        ("VaultAddress", "string", ".spec.hashiCorpVault.address", 0),
        ("ScaledObjects", "string", ".status.scaledobjects", 1),
        ("ScaledJobs", "string", ".status.scaledjobs", 1),
    ];
    let namespaced: Vec<_> = cluster
        .into_iter()
        .filter(|(name, ..)| *name != "FilePath")
        .collect();
    let expected = [
        (
            "ClusterTriggerAuthentication",
            "Cluster",
            json!(["cta", "clustertriggerauth"]),
            cluster.to_vec(),
        ),
        (
            "ScaledObject",
            "Namespaced",
            json!(["so"]),
            scaled_object.to_vec(),
        ),
        (
            "TriggerAuthentication",
            "Namespaced",
            json!(["ta", "triggerauth"]),
            namespaced,
        ),
    ];
    let all = crds::all();
    let kedas = all.iter().filter(|crd| crd.spec.group == "keda.sh");
    for (crd, (kind, scope, short_names, columns)) in kedas.zip(expected) {
        assert_eq!((&*crd.spec.names.kind, &*crd.spec.scope), (kind, scope));
        assert_eq!(json!(crd.spec.names.short_names), short_names);
        let version = &crd.spec.versions[0];
        assert_eq!(
            (&*version.name, version.served, version.storage),
            ("v1alpha1", true, true)
        );
        assert!(version.subresources.as_ref().unwrap().status.is_some());
        let shown: Vec<_> = version
            .additional_printer_columns
            .iter()
            .flatten()
            .collect();
        let shown: Vec<_> = shown
            .iter()
            .map(|c| (&*c.name, &*c.type_, &*c.json_path, c.priority.unwrap_or(0)))
            .collect();
        assert_eq!(shown, columns, "{kind}");
    }
}
