//! The server against a real control plane: behind its aggregation layer, and asked directly by those who would like to
//! get around it.

mod access;
mod aggregation;
mod bench;
mod connections;

use std::time::Duration;

use anyhow::{Context, Result};
use bench::Bench;

/// The machine may be compiling something else meanwhile.
const SOON: Duration = Duration::from_secs(60);

/// One control plane for all cases; they run one after the other, since some change whom it trusts.
#[tokio::test(flavor = "multi_thread")]
async fn external_metrics_behind_a_real_control_plane() -> Result<()> {
    let bench = Bench::start().await?;
    macro_rules! run {
        ($($case:path),* $(,)?) => {$(
            $case(&bench).await.context(stringify!($case))?;
            println!("{} ... ok", stringify!($case));
        )*};
    }
    run!(
        aggregation::kubectl_shows_a_metric_through_the_aggregation_layer,
        aggregation::the_hpa_controller_scales_by_it,
        aggregation::failures_reach_kubectl_as_kubernetes_words_them,
        aggregation::the_aggregation_layer_takes_over_discovery_and_openapi,
        access::only_probes_are_answered_without_credentials,
        access::a_spoofed_remote_user_counts_for_nothing,
        access::a_service_account_needs_the_right,
        access::wrong_tokens_are_unauthorized,
        access::a_front_proxy_needs_the_right_name,
        access::a_client_certificate_names_the_user,
        access::all_reads_of_the_hpa_controller_cost_one_review,
        access::made_up_tokens_hold_up_no_read_of_the_hpa_controller,
        access::impersonation_is_refused,
        connections::requests_that_make_no_sense_are_refused,
        connections::plain_http_and_silence_get_nowhere,
        connections::the_certificate_is_replaced_without_a_restart,
        access::nobody_is_let_in_while_the_api_server_is_away,
    );
    connections::shutdown_ends_it_at_once(bench)
        .await
        .context("shutdown_ends_it_at_once")
}
