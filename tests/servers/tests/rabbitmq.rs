//! The broker.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lapin::{Connection, ConnectionProperties};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sakidori_test_cluster::eventually;
use sakidori_test_servers::{RabbitMq, RabbitMqOptions, Tls, TlsMaterial};

use crate::SOON;

/// One broker for all: a start costs seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_serves() -> Result<()> {
    let started = Instant::now();
    let mut rabbit = RabbitMq::start().await?;
    println!("ready in {:?}", started.elapsed());
    refused_logins_are_counted(&rabbit).await?;
    unacknowledged_messages_are_counted_apart(&rabbit).await?;
    a_paused_broker_hangs(&rabbit).await?;
    messages_survive_a_kill(&mut rabbit).await
}

async fn messages_survive_a_kill(rabbit: &mut RabbitMq) -> Result<()> {
    rabbit.declare_queue("/", "orders").await?;
    rabbit.publish("/", "orders", 50).await?;
    assert_eq!(rabbit.queue_depth("/", "orders").await?, 50);

    let urls = (rabbit.amqp_url(), rabbit.http_url());
    rabbit.kill();
    assert!(rabbit.queue_depth("/", "orders").await.is_err());
    rabbit.restart().await?;
    assert_eq!(urls, (rabbit.amqp_url(), rabbit.http_url()));
    assert_eq!(rabbit.queue_depth("/", "orders").await?, 50);
    assert_eq!(rabbit.consume("/", "orders", 20).await?, 20);
    assert_eq!(rabbit.consume("/", "orders", 100).await?, 30);

    rabbit.publish("/", "orders", 3).await?;
    rabbit.purge("/", "orders").await?;
    assert_eq!(rabbit.queue_depth("/", "orders").await?, 0);
    rabbit.delete_queue("/", "orders").await?;
    assert!(rabbit.queue_depth("/", "orders").await.is_err());
    let error = rabbit
        .publish("/", "orders", 1)
        .await
        .err()
        .context("published to nowhere")?;
    assert!(error.to_string().contains("no queue orders"), "{error:#}");
    Ok(())
}

async fn unacknowledged_messages_are_counted_apart(rabbit: &RabbitMq) -> Result<()> {
    rabbit.create_vhost("shop/eu").await?;
    rabbit.declare_queue("shop/eu", "orders").await?;
    rabbit.publish("shop/eu", "orders", 5).await?;
    let held = rabbit.hold("shop/eu", "orders", 2).await?;
    assert_eq!(held.count(), 2);
    assert_eq!(rabbit.queue_depth("shop/eu", "orders").await?, 3);
    eventually("statistics", SOON, async || {
        let queue = rabbit.queue_statistics("shop/eu", "orders").await?;
        Ok((queue["messages"] == 5 && queue["messages_unacknowledged"] == 2).then_some(()))
    })
    .await?;
    drop(held);
    eventually("return of the messages", SOON, async || {
        Ok((rabbit.queue_depth("shop/eu", "orders").await? == 5).then_some(()))
    })
    .await
}

async fn refused_logins_are_counted(rabbit: &RabbitMq) -> Result<()> {
    rabbit.set_user("scaler", "right").await?;
    rabbit.allow("scaler", "/").await?;
    let connect = async |password: &str| {
        Connection::connect(
            &rabbit.amqp_url_of("scaler", password),
            ConnectionProperties::default(),
        )
        .await
    };
    connect("right").await?;
    assert_eq!(rabbit.refused_logins()?, 0);
    let before = rabbit.accepted_connections()?;
    assert!(connect("wrong").await.is_err());
    let status = reqwest::get(format!(
        "{}/api/queues",
        rabbit.http_url_of("scaler", "wrong")
    ))
    .await?
    .status();
    assert_eq!(status, 401);
    eventually("two refusals in the log", SOON, async || {
        Ok((rabbit.refused_logins()? == 2).then_some(()))
    })
    .await?;
    assert_eq!(rabbit.accepted_connections()? - before, 1);

    rabbit.set_user("scaler", "wrong").await?;
    connect("wrong").await?;
    Ok(())
}

async fn a_paused_broker_hangs(rabbit: &RabbitMq) -> Result<()> {
    rabbit.declare_queue("/", "orders").await?;
    rabbit.pause();
    let depth =
        tokio::time::timeout(Duration::from_secs(1), rabbit.queue_depth("/", "orders")).await;
    assert!(depth.is_err(), "{depth:?}");
    rabbit.resume();
    assert_eq!(rabbit.queue_depth("/", "orders").await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_on_both_protocols() -> Result<()> {
    let options = RabbitMqOptions {
        tls: Tls::Mutual,
        ..RabbitMqOptions::default()
    };
    let rabbit = RabbitMq::start_with(options).await?;
    let tls = rabbit.tls().context("no TLS")?;
    let amqps = rabbit.amqps_url().context("no AMQPS")?;
    let address = amqps
        .strip_prefix("amqps://guest:guest@")
        .context("no address")?;
    assert_eq!(
        greeting(address, tls, true)?,
        1,
        "the type of the frame with Connection.Start"
    );
    assert!(
        greeting(address, tls, false).is_err(),
        "it wants a client certificate"
    );

    let identity = reqwest::Identity::from_pem(
        format!("{}{}", tls.client.certificate, tls.client.key).as_bytes(),
    )?;
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(tls.ca().as_bytes())?])
        .identity(identity)
        .build()?;
    let url = format!("{}/api/overview", rabbit.https_url().context("no HTTPS")?);
    assert_eq!(client.get(url).send().await?.status(), 200);
    Ok(())
}

/// Opens a TLS connection, says that it speaks AMQP 0-9-1 and gives the first byte of the answer.
///
/// By hand, not with the AMQP client: whether that one encrypts depends on its features, and this test is about the
/// broker.
fn greeting(address: &str, tls: &TlsMaterial, with_certificate: bool) -> Result<u8> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(tls.ca().as_bytes())?)?;
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = if with_certificate {
        let certificate = CertificateDer::from_pem_slice(tls.client.certificate.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(tls.client.key.as_bytes())?;
        config.with_client_auth_cert(vec![certificate], key)?
    } else {
        config.with_no_client_auth()
    };
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    stream.write_all(b"AMQP\x00\x00\x09\x01")?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    Ok(answer[0])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_run_at_once_and_leave_nothing() -> Result<()> {
    let (one, two) = tokio::try_join!(RabbitMq::start(), RabbitMq::start())?;
    one.declare_queue("/", "only-in-one").await?;
    assert!(two.queue_depth("/", "only-in-one").await.is_err());
    let dir = one.dir().to_owned();
    assert!(processes_of(&dir)?.len() >= 2, "epmd and the broker run");
    drop(one);
    // Erlang's own little children see their pipe close and end by themselves.
    gone(&dir).await?;
    two.declare_queue("/", "still-serves").await
}

/// Runs only as the child of the next test.
#[tokio::test(flavor = "multi_thread")]
async fn hold_a_broker_until_killed() -> Result<()> {
    if std::env::var_os(HOLD).is_some() {
        let rabbit = RabbitMq::start().await?;
        println!("\n{HOLD}={}", rabbit.dir().display());
        std::future::pending::<()>().await;
    }
    Ok(())
}

const HOLD: &str = "SAKIDORI_TEST_HOLD";

#[tokio::test]
async fn a_killed_parent_leaves_nothing() -> Result<()> {
    let mut parent = Command::new(std::env::current_exe()?)
        .args([
            "--exact",
            "rabbitmq::hold_a_broker_until_killed",
            "--nocapture",
        ])
        .env(HOLD, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(parent.stdout.take().context("no stdout")?);
    let mut lines = output.lines().map_while(Result::ok);
    let dir = lines
        .find_map(|line| Some(PathBuf::from(line.strip_prefix(HOLD)?.strip_prefix('=')?)))
        .context("the child did not start a broker")?;
    assert!(processes_of(&dir)?.len() >= 2, "epmd and the broker run");
    parent.kill()?; // SIGKILL
    parent.wait()?;
    gone(&dir).await
}

async fn gone(dir: &Path) -> Result<()> {
    eventually("end of all processes and of the folder", SOON, async || {
        Ok((processes_of(dir)?.is_empty() && !dir.exists()).then_some(()))
    })
    .await
}

/// The processes that work in `dir`.
fn processes_of(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        // A removed folder's path has " (deleted)" behind it.
        let works_there = std::fs::read_link(path.join("cwd"))
            .is_ok_and(|cwd| cwd.to_string_lossy().starts_with(&*dir.to_string_lossy()));
        if works_there {
            found.push(std::fs::read_to_string(path.join("comm")).unwrap_or_default());
        }
    }
    Ok(found)
}
