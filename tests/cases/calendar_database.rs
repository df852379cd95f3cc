//! Sales that stand in a database: a real PostgreSQL, with its faults.

use anyhow::{Result, ensure};
use sakidori_test_servers::{PostgreSql, Tls};
use sakidori_tests::canary::CANARY;
use serde_json::{Value, json};

use crate::calendars::{CALENDARS, calendar, until};
use crate::prescaling::{floor, from_now, trigger, until_bounds};
use crate::scene::{PATH, Scene, condition, play};

const QUERY: &str = "select name, starts_at, ends_at, labels, multiplier from sales";

/// A server with a table of sales, which the user `shop` may read.
async fn database(tls: Tls) -> Result<PostgreSql> {
    let server = PostgreSql::start_with(tls).await?;
    server
        .create_user("shop", &format!("{CANARY}-right"))
        .await?;
    server
        .execute(
            "create table sales (name text primary key, starts_at timestamptz, ends_at timestamptz, labels jsonb, \
             multiplier numeric); grant select on sales to shop",
        )
        .await?;
    Ok(server)
}

/// A sale of tier S; seconds from now.
async fn insert(server: &PostgreSql, name: &str, start: i64, end: i64) -> Result<()> {
    let (start, end) = (from_now(start), from_now(end));
    let sql = format!(
        "insert into sales values ('{name}', '{start}', '{end}', '{{\"tier\": \"S\"}}', 2)"
    );
    server.execute(&sql).await.map(drop)
}

/// The authentication `db`, with KEDA's parameters; of the same ones later ones count.
async fn credentials(scene: &Scene<'_>, server: &PostgreSql, more: &[(&str, &str)]) -> Result<()> {
    let password = format!("{CANARY}-right");
    let port = server.port().to_string();
    let mut given = json!({
        "host": "127.0.0.1",
        "port": port,
        "userName": "shop",
        "password": password,
        "dbName": "postgres",
        "sslmode": "disable",
    });
    for (name, value) in more {
        given[*name] = json!(value);
    }
    let names = given.as_object().into_iter().flatten();
    let sources: Vec<_> = names
        .map(|(name, _)| json!({"parameter": name, "name": "db", "key": name}))
        .collect();
    scene
        .apply(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "db"},
            "stringData": given,
        }))
        .await?;
    scene
        .apply(json!({
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "TriggerAuthentication",
            "metadata": {"name": "db"},
            "spec": {"secretTargetRef": sources},
        }))
        .await?;
    Ok(())
}

/// Another interval lets the database be asked at once.
fn asking(query: &str, seconds: usize) -> Value {
    calendar(&json!([{
        "name": "shop-db",
        "format": "postgresql",
        "query": query,
        "authenticationRef": {"name": "db"},
        "refreshInterval": format!("{seconds}s"),
    }]))
}

#[test]
fn a_sale_in_a_database_prescales_and_outlives_the_server() {
    play("database-sale", async |scene| {
        let mut server = database(Tls::Off).await?;
        insert(&server, "drop", 5, 600).await?;
        insert(&server, "later", 100_000, 200_000).await?;
        credentials(scene, &server, &[]).await?;
        scene.apply(asking(QUERY, 30)).await?;
        scene.deploy("web", 1).await?;
        let mut of_tier = trigger("sales", floor(4));
        of_tier["metadata"]["match"] = json!("tier=S");
        let spec = json!({"minReplicaCount": 1, "triggers": [of_tier, scene.trigger()]});
        scene.apply(scene.scaled_object("web", spec)).await?;
        scene.until_replicas("web", 4).await?;

        server.kill();
        scene.apply(asking(QUERY, 31)).await?;
        let both = ["drop", "later"];
        until(scene, "True", "Connection refused", &both).await?;
        scene.until_told("sales", "CalendarStale").await?;
        scene.stays("web", 4, PATH, 5).await?;
        until_bounds(scene, "web", 4, 5).await?;
        // It is asked again by itself.
        server.restart().await?;
        until(scene, "False", "", &both).await?;
        scene.until_told("sales", "CalendarFresh").await?;
        scene.stays("web", 4, PATH, 3).await?;

        // An empty table is an accident.
        server.execute("alter table sales rename to kept").await?;
        server
            .execute("create table sales as select * from kept limit 0")
            .await?;
        server.execute("grant select on sales to shop").await?;
        scene.apply(asking(QUERY, 32)).await?;
        until(scene, "True", "empty calendar", &both).await?;
        scene.stays("web", 4, PATH, 3).await?;
        // A row that is gone while others are there isn't.
        server
            .execute("insert into sales select * from kept where name = 'later'")
            .await?;
        scene.apply(asking(QUERY, 33)).await?;
        until(scene, "False", "", &["later"]).await?;
        until_bounds(scene, "web", 1, 5).await?;
        scene.until_replicas("web", 1).await
    });
}

#[test]
fn what_is_wrong_with_a_database_is_told_and_a_right_password_counts_at_once() {
    play("database-wrong", async |scene| {
        let server = database(Tls::Off).await?;
        insert(&server, "drop", 1000, 2000).await?;
        let wrong = format!("{CANARY}-wrong");
        credentials(scene, &server, &[("password", &wrong)]).await?;
        scene.apply(asking(QUERY, 3600)).await?;
        let refused = "password authentication failed for user \"shop\"";
        until(scene, "True", refused, &[]).await?;
        credentials(scene, &server, &[]).await?;
        until(scene, "False", "", &["drop"]).await?;

        for (at, (query, part)) in [
            (
                "select name as title, starts_at, ends_at from sales",
                "the query returns the columns \"title\", \"starts_at\", \"ends_at\": expected name, starts_at",
            ),
            ("select title from sales", "column \"title\" does not exist"),
            ("select name from", "syntax error at end of input"),
            ("delete from sales returning *", "read-only transaction"),
            (
                "select name || i as name, starts_at, ends_at from sales, generate_series(1, 10001) i",
                "more than the limit of 10000 rows",
            ),
            (
                "select repeat('x', 6 * 1024 * 1024) as name, starts_at, ends_at from sales",
                "the answer is larger than 5 MiB",
            ),
        ]
        .into_iter()
        .enumerate()
        {
            scene.apply(asking(query, 30 + at)).await?;
            until(scene, "True", part, &["drop"]).await?;
        }
        credentials(scene, &server, &[("sslmode", "on")]).await?;
        let expected =
            "authenticationRef: sslmode is none that there is: expected disable, allow, prefer";
        until(scene, "True", expected, &["drop"]).await?;
        // One row that is wrong is left out alone.
        credentials(scene, &server, &[]).await?;
        let query = "select name, starts_at, ends_at from sales union all select 'backwards', now(), now() - interval '1h'";
        scene.apply(asking(query, 40)).await?;
        until(scene, "False", "", &["drop"]).await?;
        let ready = scene
            .until("the bad row", CALENDARS, "sales", |object| {
                let ready = condition(object, "Ready")?;
                (ready["status"] == "False").then(|| ready["message"].to_string())
            })
            .await?;
        ensure!(
            ready.contains("backwards") && ready.contains("rows[1].end"),
            "{ready}"
        );
        Ok(())
    });
}

#[test]
fn a_database_is_asked_over_tls_and_has_to_show_that_it_is_the_one() {
    play("database-tls", async |scene| {
        let server = database(Tls::Mutual).await?;
        insert(&server, "drop", 1000, 2000).await?;
        let tls = server.tls().expect("it has TLS");
        let mut given = vec![
            ("sslmode", "verify-full"),
            ("cert", tls.client.certificate.as_str()),
            ("key", tls.client.key.as_str()),
        ];
        credentials(scene, &server, &given).await?;
        scene.apply(asking(QUERY, 3600)).await?;
        until(
            scene,
            "True",
            "invalid peer certificate: UnknownIssuer",
            &[],
        )
        .await?;
        given.push(("ca", tls.ca()));
        credentials(scene, &server, &given).await?;
        until(scene, "False", "", &["drop"]).await
    });
}
