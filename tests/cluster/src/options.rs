//! What a cluster is to be like.

use std::time::Duration;

/// Options of [`Cluster::start`](crate::Cluster::start). The defaults suit tests.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How often the HPA controller looks at each HPA. Default 5 s, so that tests are quick; Kubernetes' own is 15 s.
    pub hpa_sync_period: Duration,
    /// How long the HPA controller remembers higher recommendations. Default: Kubernetes' own, 5 min. An HPA's
    /// `behavior.scaleDown.stabilizationWindowSeconds` goes before it.
    pub hpa_downscale_stabilization: Option<Duration>,
    /// The relative difference from the target that the HPA controller ignores. Default: Kubernetes' own, 0.1.
    pub hpa_tolerance: Option<f64>,
    /// The number of fake nodes. Default 2.
    pub nodes: u32,
    /// The size of each fake node.
    pub node: NodeSize,
    /// From the moment a pod is bound to a node until it is Running and Ready. Default 500 ms. A pod overrides it with
    /// the annotation [`START_TIME_ANNOTATION`](crate::nodes::START_TIME_ANNOTATION).
    pub pod_start_time: Duration,
    /// Whether the fake kubelet acts out pod starts and in-place resizes step by step, as that of Kubernetes 1.36 does, and knows the annotations
    /// `kubelet.sakidori.test/resize-...` (see [`nodes`](crate::nodes)). Default false: a pod is Ready in one step, and any resize is
    /// there 200 ms later.
    pub acts_out_resizes: bool,
    /// Namespaces whose pods the fake kubelet leaves alone, because somebody else acts as theirs. Default none.
    pub unmanaged_namespaces: Vec<String>,
    /// Whether kube-scheduler runs. Without it pods stay Pending. Default true.
    pub scheduler: bool,
    /// Whether writes are recorded for [`Cluster::writes`](crate::Cluster::writes). Default true: it costs one line of
    /// a file a write.
    pub audit: bool,
    /// More flags for kube-apiserver, such as `--feature-gates=X=true`; they come last, and so win.
    pub apiserver_args: Vec<String>,
    /// More flags for kube-controller-manager; they come last, and so win.
    pub controller_manager_args: Vec<String>,
}

impl Default for ClusterOptions {
    fn default() -> ClusterOptions {
        ClusterOptions {
            hpa_sync_period: Duration::from_secs(5),
            hpa_downscale_stabilization: None,
            hpa_tolerance: None,
            nodes: 2,
            node: NodeSize::default(),
            pod_start_time: Duration::from_millis(500),
            acts_out_resizes: false,
            unmanaged_namespaces: Vec::new(),
            scheduler: true,
            audit: true,
            apiserver_args: Vec::new(),
            controller_manager_args: Vec::new(),
        }
    }
}

/// What a fake node can hold: its `status.capacity` and `status.allocatable`.
#[derive(Debug, Clone)]
pub struct NodeSize {
    /// A quantity, such as `32` or `500m`.
    pub cpu: String,
    /// A quantity, such as `64Gi`.
    pub memory: String,
    /// The largest number of pods. A kubelet's own default is 110.
    pub pods: u32,
}

impl Default for NodeSize {
    /// Large enough that only a test that wants to runs out of room.
    fn default() -> NodeSize {
        NodeSize {
            cpu: "64".to_owned(),
            memory: "256Gi".to_owned(),
            pods: 1000,
        }
    }
}
