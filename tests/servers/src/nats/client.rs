//! As much of NATS' text protocol as a test needs: one connection that asks and waits for the answer.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// What answers are sent to.
const INBOX: &str = "_INBOX.test";

/// A connection as the user of an account.
pub(super) struct Client(BufReader<TcpStream>);

/// A message that was delivered.
struct Message {
    reply: Option<String>,
    body: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(host: &str, port: u16, account: &str) -> Result<Client> {
        let stream = timeout(ANSWER_TIMEOUT, TcpStream::connect((host, port))).await??;
        let mut client = Client(BufReader::new(stream));
        let login = json!({"verbose": false, "pedantic": false, "user": account, "pass": account});
        client
            .send(&format!("CONNECT {login}\r\nSUB {INBOX} 1\r\nPING\r\n"))
            .await?;
        loop {
            let line = client.line().await?;
            match line.split(' ').next() {
                Some("PONG") => return Ok(client),
                Some("INFO") => {}
                _ => bail!("NATS refused a connection: {line}"),
            }
        }
    }

    /// Asks a question of JetStream's API.
    pub(super) async fn ask(&mut self, subject: &str, question: &Value) -> Result<Value> {
        let question = match question {
            Value::Null => String::new(),
            question => question.to_string(),
        };
        self.request(subject, &question).await?;
        let answer = self.message().await.with_context(|| subject.to_owned())?;
        let answer: Value = serde_json::from_slice(&answer.body)?;
        ensure!(answer["error"].is_null(), "{subject}: {}", answer["error"]);
        Ok(answer)
    }

    pub(super) async fn publish(&mut self, subject: &str, messages: usize) -> Result<()> {
        for number in 0..messages {
            self.request(subject, &number.to_string()).await?;
        }
        for _ in 0..messages {
            let stored: Value = serde_json::from_slice(&self.message().await?.body)?;
            ensure!(stored["seq"].is_number(), "{subject}: {stored}");
        }
        Ok(())
    }

    pub(super) async fn take(
        &mut self,
        next: &str,
        messages: usize,
        acknowledge: bool,
    ) -> Result<()> {
        let question = json!({"batch": messages, "expires": ANSWER_TIMEOUT.as_nanos()});
        self.request(next, &question.to_string()).await?;
        let mut taken = Vec::new();
        for _ in 0..messages {
            let message = self.message().await?;
            taken.push(message.reply.context("a message without a reply subject")?);
        }
        if !acknowledge {
            return Ok(());
        }
        for reply in taken {
            // Each is confirmed, so that all are acknowledged when this returns.
            self.request(&reply, "+ACK").await?;
            self.message().await?;
        }
        Ok(())
    }

    async fn request(&mut self, subject: &str, body: &str) -> Result<()> {
        let text = format!("PUB {subject} {INBOX} {}\r\n{body}\r\n", body.len());
        self.send(&text).await
    }

    async fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.0.write_all(text.as_bytes()).await?)
    }

    /// The next message: `MSG SUBJECT ID [REPLY] SIZE`, and its body.
    async fn message(&mut self) -> Result<Message> {
        loop {
            let line = self.line().await?;
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["MSG", _, _, size] => return self.body(None, size).await,
                ["MSG", _, _, reply, size] => return self.body(Some(reply), size).await,
                ["PING"] => self.send("PONG\r\n").await?,
                ["PONG" | "+OK"] | ["INFO", ..] => {}
                _ => bail!("NATS said: {line}"),
            }
        }
    }

    async fn body(&mut self, reply: Option<&str>, size: &str) -> Result<Message> {
        let mut body = vec![0; size.parse::<usize>()? + 2];
        timeout(ANSWER_TIMEOUT, self.0.read_exact(&mut body)).await??;
        body.truncate(body.len() - 2);
        Ok(Message {
            reply: reply.map(str::to_owned),
            body,
        })
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = timeout(ANSWER_TIMEOUT, self.0.read_line(&mut line)).await;
        let read = read.context("no answer of NATS")??;
        ensure!(read > 0, "NATS closed the connection");
        Ok(line.trim_end().to_owned())
    }
}
