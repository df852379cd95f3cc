//! What stands for the reader's own objects where a page's commands say `NAMESPACE` and `NAME`.

use std::path::Path;

use anyhow::Result;

use super::{Language, Page};

/// The name of all of them.
const NAME: &str = "orders";
const FILE: &str = "example.yaml";

/// A Deployment and its ScaledObject, which is Ready, and calendars without a sale. Nothing of it asks a source beyond the cluster.
const OBJECTS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: NAMESPACE}
spec:
  replicas: 0
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec: {containers: [{name: main, image: 'example.org/none:1'}]}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: NAME, namespace: NAMESPACE}
spec:
  scaleTargetRef: {name: NAME}
  triggers:
    - type: kubernetes-workload
      metadata: {podSelector: app=nothing, value: '1'}
---
apiVersion: sakidori.dev/v1alpha1
kind: SaleCalendar
metadata: {name: NAME, namespace: NAMESPACE}
spec: {events: []}
---
apiVersion: sakidori.dev/v1alpha1
kind: ClusterSaleCalendar
metadata: {name: NAME}
spec: {events: []}
";

/// Whether some command of the page names the reader's own namespace.
pub(super) fn wanted(page: &Page) -> bool {
    page.blocks.iter().any(|block| {
        matches!(block.language, Language::Bash | Language::Console)
            && words(&block.text).any(|word| word == "NAMESPACE")
    })
}

/// The objects in one page's namespace.
pub(super) struct Example {
    namespace: String,
}

impl Example {
    pub(super) fn new(namespace: String) -> Self {
        Self { namespace }
    }

    /// A text with their names in it.
    pub(super) fn named(&self, text: &str) -> String {
        let mut named = String::new();
        let mut rest = text;
        while let Some(word) = words(rest).next() {
            let start = rest.find(word).unwrap_or_default();
            named.push_str(&rest[..start]);
            named.push_str(match word {
                "NAMESPACE" => &self.namespace,
                "NAME" => NAME,
                other => other,
            });
            rest = &rest[start + word.len()..];
        }
        named.push_str(rest);
        named
    }

    /// Writes them into `folder`, and gives the commands that make them.
    pub(super) fn write(&self, folder: &Path) -> Result<String> {
        std::fs::write(folder.join(FILE), self.named(OBJECTS))?;
        Ok(format!(
            "kubectl apply --server-side -f {FILE} >/dev/null\n\
             kubectl -n {} wait scaledobject/{NAME} --for=condition=Ready --timeout=60s >/dev/null\n",
            self.namespace
        ))
    }
}

/// Names as a shell or a path may hold them: `keda-hpa-NAME` has NAME in it, `HOSTNAME` doesn't.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_themselves_only() {
        let example = Example::new("docs-a".to_owned());
        assert_eq!(
            example.named("kubectl -n NAMESPACE get hpa keda-hpa-NAME HOSTNAME NAME_S\n"),
            "kubectl -n docs-a get hpa keda-hpa-orders HOSTNAME NAME_S\n"
        );
    }
}
