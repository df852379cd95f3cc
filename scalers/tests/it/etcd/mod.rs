//! The `etcd` trigger against a real etcd: what it reads, here; what it hears and what goes wrong in the modules.

mod faults;
mod push;
mod users;

use std::sync::Arc;
use std::time::Duration;

use sakidori_scalers::clients::Clients;
use sakidori_scalers::{Context, Freshness, Reading, Scaler, ScalerError, Trigger, build};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{Etcd, Tls};

use crate::bystanders::connections_to;
use crate::no_cluster::NoCluster;

/// The longest back-off, and some more.
const SOON: Duration = Duration::from_secs(40);

fn context() -> Context {
    Context {
        clients: Arc::new(Clients::default()),
        cluster: Arc::new(NoCluster),
    }
}

fn trigger(endpoints: &str, key: &str) -> Trigger {
    Trigger::new("etcd").metadata([
        ("endpoints", endpoints),
        ("watchKey", key),
        ("value", "2.5"),
        ("activationValue", "4"),
    ])
}

fn scaler(trigger: &Trigger) -> Box<dyn Scaler> {
    build(trigger, &context()).unwrap()
}

async fn read(scaler: &dyn Scaler) -> Result<Reading, ScalerError> {
    let readings = scaler.read(&Freshness::now()).await?;
    assert_eq!(readings.len(), 1);
    Ok(readings.into_iter().next().unwrap())
}

async fn value(scaler: &dyn Scaler) -> Result<f64, ScalerError> {
    read(scaler).await.map(|reading| reading.value)
}

/// Waits until a value is read again.
async fn until(scaler: &dyn Scaler, expected: f64) {
    let read = eventually("value", SOON, async || {
        Ok((value(scaler).await? == expected).then_some(()))
    });
    read.await.unwrap();
}

#[tokio::test]
async fn the_number_in_a_key_is_read() {
    let etcd = Etcd::start().await.unwrap();
    let scaler = scaler(&trigger(&etcd.endpoints(), "parcels/waiting"));
    let metric = &scaler.metrics()[0];
    assert_eq!(metric.name, "s0-etcd-parcels-waiting");
    assert_eq!(metric.target.to_string(), "2500m");

    let error = read(&*scaler).await.unwrap_err().to_string();
    assert!(
        error.starts_with("not found") && error.contains("watchKey parcels/waiting doesn't exist"),
        "{error}"
    );
    assert!(error.contains(&etcd.endpoints()), "{error}");
    for (text, value, active) in [
        ("0", 0.0, false),
        ("4", 4.0, false),
        ("4.5", 4.5, true),
        ("-1e1", -10.0, false),
    ] {
        etcd.put("parcels/waiting", text).await.unwrap();
        let reading = read(&*scaler).await.unwrap();
        assert_eq!((reading.value, reading.active), (value, active), "{text}");
        assert_eq!(reading.metric, metric.name);
    }
    for text in ["", "7\n", "many", "NaN", "inf"] {
        etcd.put("parcels/waiting", text).await.unwrap();
        let error = read(&*scaler).await.unwrap_err();
        assert!(
            matches!(error, ScalerError::Malformed(_)),
            "{text:?}: {error}"
        );
    }
    // A key is a key and no prefix.
    etcd.put("parcels", "7").await.unwrap();
    etcd.delete("parcels/waiting").await.unwrap();
    let error = read(&*scaler).await.unwrap_err();
    assert!(matches!(error, ScalerError::NotFound(_)), "{error}");
}

#[tokio::test]
async fn schemes_speak_for_tls() {
    let plain = Etcd::start().await.unwrap();
    plain.put("k", "7").await.unwrap();
    let schemed = format!("http://{}", plain.endpoints());
    let tls = [("tls", "enable")];
    assert_eq!(value(&*scaler(&trigger(&schemed, "k"))).await, Ok(7.0));
    let ignored = trigger(&schemed, "k").authentication(tls);
    assert_eq!(value(&*scaler(&ignored)).await, Ok(7.0));
    assert!(
        value(&*scaler(
            &trigger(&plain.endpoints(), "k").authentication(tls)
        ))
        .await
        .is_err()
    );

    let etcd = Etcd::start_for(Tls::Mutual, &["127.0.0.1"]).await.unwrap();
    etcd.put("k", "8").await.unwrap();
    let material = etcd.tls().unwrap();
    let known = [
        ("tls", "enable"),
        ("ca", material.ca()),
        ("cert", material.client.certificate.as_str()),
        ("key", material.client.key.as_str()),
    ];
    for endpoints in [etcd.endpoints(), format!("https://{}", etcd.endpoints())] {
        let trigger = trigger(&endpoints, "k").authentication(known);
        assert_eq!(value(&*scaler(&trigger)).await, Ok(8.0));
        let anonymous = self::trigger(&endpoints, "k").authentication(known[..2].iter().copied());
        let error = value(&*scaler(&anonymous)).await.unwrap_err();
        assert!(matches!(error, ScalerError::Unreachable(_)), "{error}");
    }
}

#[tokio::test]
async fn five_hundred_triggers_share_two_connections() {
    let etcd = Etcd::start().await.unwrap();
    let context = context();
    let mut scalers = Vec::new();
    for number in 0..500 {
        let key = format!("key-{}", number % 250);
        if number < 250 {
            etcd.put(&key, number.to_string()).await.unwrap();
        }
        scalers.push(build(&trigger(&etcd.endpoints(), &key), &context).unwrap());
    }
    // etcd's gateway, by which the test puts, is its own server's client.
    let etcds = connections_to(etcd.port_of(0));
    let all = scalers.iter().map(|scaler| value(&**scaler));
    let values = futures::future::join_all(all).await;
    for (number, value) in values.into_iter().enumerate() {
        assert_eq!(value, Ok((number % 250) as f64));
    }
    let pushes: Vec<_> = scalers.iter().map(|_| Default::default()).collect();
    let listeners = scalers.iter().zip(&pushes);
    let listening = listeners.map(|(scaler, pushes)| scaler.push().unwrap().listen(pushes));
    let told = async {
        // Keys from 5 on are above the activation value when their watch begins; the others are put there.
        for number in 0..5 {
            etcd.put(&format!("key-{number}"), "9").await.unwrap();
        }
        for pushes in &pushes {
            tokio::time::timeout(SOON, pushes.until_active())
                .await
                .unwrap();
        }
        connections_to(etcd.port_of(0))
    };
    let open = tokio::select! {
        _ = futures::future::join_all(listening) => panic!("they listen no more"),
        open = told => open,
    };
    // One for questions, one for watches.
    assert!(open <= etcds + 2, "{open} connections, {etcds} of etcd's");
}
