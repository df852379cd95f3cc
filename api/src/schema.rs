//! Schemas that can't be derived from a type.

use schemars::{Schema, SchemaGenerator, json_schema};

/// The longest stabilization window the HPA accepts, in seconds (Kubernetes: `autoscaling/v2`).
const MAX_STABILIZATION_SECONDS: i32 = 3600;

/// A quantity as Kubernetes writes it; its API server is sent nothing else.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// A list of objects with whatever they hold.
pub fn any_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
    })
}

/// How many pods may be resized at a time.
pub fn max_concurrent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-int-or-string": true })
}

/// `cpu` and `memory` of `inPlaceResize`: any value, as a schema has no type for a text or a number that may be a fraction (`cpu: 0.5`), which a pod's resources may be, too.
/// Admission and the condition say what is none.
pub fn amount(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

/// `spec.advanced.horizontalPodAutoscalerConfig.behavior`: the fields of `autoscaling/v2`. The type of k8s-openapi has
/// them too, but its schema lacks the bounds of the window and the pattern of the tolerance, so that a mistake would
/// only show when the HPA is written.
pub fn hpa_behavior(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "How fast the HPA may scale; handed to it as it stands.",
        "type": "object",
        "properties": {
            "scaleDown": scaling_rules("How fast the HPA may remove replicas. If absent: down to the minimum, over a window of 300 seconds."),
            "scaleUp": scaling_rules("How fast the HPA may add replicas. If absent: the larger of 4 pods and doubling in 15 seconds, without a window."),
        },
    })
}

fn scaling_rules(description: &str) -> Schema {
    json_schema!({
        "description": description,
        "type": "object",
        "properties": {
            "policies": {
                "description": "Each limits the change within a period.",
                "type": "array",
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["periodSeconds", "type", "value"],
                    "properties": {
                        "periodSeconds": {
                            "description": "The period that the limit holds for: 1 to 1800 seconds.",
                            "type": "integer",
                            "format": "int32",
                        },
                        "type": { "description": "Pods or Percent.", "type": "string" },
                        "value": { "description": "The largest change: above zero.", "type": "integer", "format": "int32" },
                    },
                },
            },
            "selectPolicy": {
                "description": "Which policy counts: Max (the default), Min, or Disabled for no change in this direction.",
                "type": "string",
            },
            "stabilizationWindowSeconds": {
                "description": "The HPA takes the safest recommendation of so many seconds.",
                "type": "integer",
                "format": "int32",
                "minimum": 0,
                "maximum": MAX_STABILIZATION_SECONDS,
            },
            "tolerance": {
                "description": "The deviation from the target that changes nothing, such as 0.05. If absent: the cluster's, 10 % by default. Kubernetes 1.33 and later.",
                "pattern": QUANTITY,
                "x-kubernetes-int-or-string": true,
            },
        },
    })
}
