//! The reasons of a ScaledObject's conditions: KEDA's where it has the condition. Each has a page in docs/reasons/.

/// Declares the reasons of each condition, and the list of all.
macro_rules! reasons {
    ($($condition:literal { $($(#[$doc:meta])* $name:ident = $reason:literal;)* })*) => {
        $($($(#[$doc])* pub const $name: &str = $reason;)*)*

        /// Each condition's type and reasons.
        pub const OF_SCALED_OBJECTS: &[(&str, &[&str])] = &[$(($condition, &[$($name),*])),*];
    };
}

reasons! {
    "Ready" {
        /// True, of a paused object too.
        READY = "ScaledObjectReady";
        /// False: it can't be scaled as it stands.
        CHECK_FAILED = "ScaledObjectCheckFailed";
        /// False: the target's replicas can't be read.
        REPLICAS_UNKNOWN = "ErrorGettingCurrentReplicas";
        /// Unknown: some trigger fails, and others are active.
        SOME_TRIGGERS_FAIL = "PartialTriggerError";
        /// False: some trigger fails, and none is active.
        TRIGGERS_FAIL = "TriggerError";
    }
    "Active" {
        ACTIVE = "ScalerActive";
        NOT_ACTIVE = "ScalerNotActive";
        COOLING_DOWN = "ScalerCooldown";
        /// Unknown: it is not known whether there is work.
        ACTIVITY_UNKNOWN = "UnknownState";
    }
    "Fallback" {
        FALLING_BACK = "FallbackExists";
        NO_FALLBACK = "NoFallbackFound";
    }
    "Paused" {
        /// The Event has the same.
        PAUSED = "ScaledObjectPaused";
        /// The Event has the same.
        UNPAUSED = "ScaledObjectUnpaused";
    }
    "HPAActive" {
        HPA_ACTIVE = "HPAActive";
        /// True: the target has no replicas, so its HPA does nothing.
        SCALING_DISABLED = "ScalingDisabled";
        /// False, where the HPA says no reason of its own.
        HPA_METRICS_UNAVAILABLE = "HPAMetricsUnavailable";
    }
    "Prescaled" {
        FLOOR_READY = "FloorReady";
        PODS_NOT_READY = "PodsNotReady";
        LIMITED = "LimitedByMaxReplicas";
        QUOTA_EXCEEDED = "QuotaExceeded";
        UNSCHEDULABLE = "Unschedulable";
        /// False: the object, or its scaling out, is paused.
        FLOOR_PAUSED = "Paused";
        /// Unknown: room for pods is asked for, and is not there yet.
        NODES_REQUESTED = "NodesRequested";
        /// Unknown: room for pods is there; whether they come is still to be seen.
        NODES_READY = "NodesReady";
        /// False: the cluster can't be asked for room.
        NODES_UNSUPPORTED = "NodesUnsupported";
        /// False: it was asked, and that failed.
        NODES_FAILED = "NodesFailed";
    }
    "Resized" {
        /// True: all pods have what the policies give.
        RESIZED = "Resized";
        /// False: pods are being resized, in waves.
        RESIZING = "Resizing";
        /// False: pods go back to their own resources.
        RESTORING = "Restoring";
        /// False: nothing is to be resized.
        NO_POLICY_HOLDS = "NoPolicyHolds";
        /// False: the object is paused, so its pods are left as they are.
        RESIZING_PAUSED = "ResizingPaused";
        /// False: the policies can't be understood.
        RESIZE_INVALID = "InvalidPolicies";
        /// False: a LimitRange, a ResourceQuota or an admission webhook refuses.
        RESIZE_REFUSED = "Refused";
        /// False: a node will never have room.
        RESIZE_INFEASIBLE = "Infeasible";
        /// False: a node has no room now.
        RESIZE_DEFERRED = "Deferred";
        /// False: a node tried, and could not.
        RESIZE_FAILED = "Failed";
        /// False: a node does not say what became of a resize.
        RESIZE_SILENT = "Silent";
        /// False: another actor sets the resources of a pod.
        RESIZED_BY_ANOTHER = "Foreign";
        /// False: what a policy asks for can't be given to a container.
        LEFT_ALONE = "LeftAlone";
        /// False: memory that is in use is not taken away.
        MEMORY_KEPT = "MemoryKept";
        /// False: the cluster has no `pods/resize`.
        RESIZE_UNSUPPORTED = "Unsupported";
        /// False: the operator may not.
        RESIZE_NOT_ALLOWED = "NotAllowed";
    }
}
