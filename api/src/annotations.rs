//! Annotation and label keys, the finalizer, and names made from an object's name. KEDA's, as users have them in
//! manifests, selectors and scripts.
