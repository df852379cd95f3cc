//! The manifests in `examples/` are what a user copies: they have no field that nothing reads.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use sakidori_api::{
    ClusterSaleCalendar, ClusterTriggerAuthentication, SaleCalendar, ScaledObject,
    TriggerAuthentication,
};
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
        for manifest in fs::read_to_string(&file).unwrap().split("\n---\n") {
            is_read_to_its_last_field(&file.display().to_string(), parse(manifest));
        }
    }
}

/// So are those in the pages of `docs/`.
#[test]
fn every_manifest_in_the_documentation_is_read_to_its_last_field() {
    let page = "docs/authentication.md";
    let text = fs::read_to_string(repository().join(page)).unwrap();
    let blocks = text.split("```yaml\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("\n```").next());
    // Values of the chart are no manifests.
    let blocks = blocks.filter(|block| block.starts_with("apiVersion:"));
    let mut kinds = 0;
    for (index, block) in blocks.enumerate() {
        for manifest in block.split("\n---\n") {
            is_read_to_its_last_field(&format!("{page}, block {index}"), parse(manifest));
            kinds += 1;
        }
    }
    assert!(kinds > 5, "{page} has {kinds} manifests");
}

/// The page on prescaling has parts of manifests too; those that are whole, and those that its quick start applies, count.
#[test]
fn every_manifest_about_prescaling_is_read_to_its_last_field() {
    let page = "docs/prescaling.md";
    let text = fs::read_to_string(repository().join(page)).unwrap();
    let between = |start: &str, end: &str| -> Vec<String> {
        let parts = text.split(start).skip(1);
        parts
            .filter_map(|part| part.split(end).next())
            .map(|part| part.replace("$START", "2027-01-02T00:00:00Z"))
            .collect()
    };
    let blocks = between("```yaml\n", "\n```");
    let whole = blocks
        .into_iter()
        .filter(|block| block.starts_with("apiVersion:"));
    let applied = between("<<END\n", "\nEND\n");
    let mut kinds = 0;
    for block in whole.chain(applied) {
        for manifest in block.split("\n---\n") {
            is_read_to_its_last_field(&format!("{page}:\n{block}"), parse(manifest));
            kinds += 1;
        }
    }
    assert!(kinds >= 8, "{page} has {kinds} whole manifests");
}

fn is_read_to_its_last_field(place: &str, manifest: Value) {
    let kind = manifest["kind"]
        .as_str()
        .unwrap_or_else(|| panic!("{place}: no kind"));
    let through: fn(&Value) -> Value = match kind {
        "ScaledObject" => through::<ScaledObject>,
        "TriggerAuthentication" => through::<TriggerAuthentication>,
        "ClusterTriggerAuthentication" => through::<ClusterTriggerAuthentication>,
        "SaleCalendar" => through::<SaleCalendar>,
        "ClusterSaleCalendar" => through::<ClusterSaleCalendar>,
        "Namespace" => through::<Namespace>,
        "Secret" => through::<Secret>,
        "Deployment" => through::<Deployment>,
        "HorizontalPodAutoscaler" => through::<HorizontalPodAutoscaler>,
        "Role" => through::<Role>,
        "RoleBinding" => through::<RoleBinding>,
        other => panic!("{place}: add the type of {other} here"),
    };
    assert_eq!(through(&manifest), manifest, "{place}");
    if manifest["apiVersion"] == "keda.sh/v1alpha1" {
        let refused = schema::refused(kind, &manifest["spec"]);
        assert_eq!(refused, Vec::<String>::new(), "{place}");
    }
    if kind == "ScaledObject" {
        let object: ScaledObject = serde_json::from_value(manifest).unwrap();
        assert_eq!(object.problems(), [], "{place}");
    }
}
