//! The manifests in `examples/` are what a user copies: they have no field that nothing reads.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use sakidori_api::{ClusterTriggerAuthentication, ScaledObject, TriggerAuthentication};
use serde_json::Value;

use crate::manifests::{parse, repository, through};
use crate::schema;

fn manifests(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.unwrap().path();
        if path.is_dir() {
            manifests(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            found.push(path);
        }
    }
}

#[test]
fn every_example_is_read_to_its_last_field() {
    let mut files = Vec::new();
    manifests(&repository().join("examples"), &mut files);
    assert!(!files.is_empty());
    for file in files {
        let manifest = parse(&fs::read_to_string(&file).unwrap());
        let kind = manifest["kind"]
            .as_str()
            .unwrap_or_else(|| panic!("{}: no kind", file.display()));
        let through: fn(&Value) -> Value = match kind {
            "ScaledObject" => through::<ScaledObject>,
            "TriggerAuthentication" => through::<TriggerAuthentication>,
            "ClusterTriggerAuthentication" => through::<ClusterTriggerAuthentication>,
            "Namespace" => through::<Namespace>,
            "Secret" => through::<Secret>,
            "Deployment" => through::<Deployment>,
            other => panic!("{}: add the type of {other} here", file.display()),
        };
        assert_eq!(through(&manifest), manifest, "{}", file.display());
        if manifest["apiVersion"] == "keda.sh/v1alpha1" {
            assert_eq!(
                schema::refused(kind, &manifest["spec"]),
                Vec::<String>::new(),
                "{}",
                file.display()
            );
        }
        if kind == "ScaledObject" {
            let object: ScaledObject = serde_json::from_value(manifest).unwrap();
            assert_eq!(object.problems(), [], "{}", file.display());
        }
    }
}
