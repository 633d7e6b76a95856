//! Sends a tape to a fresh server in this process, in virtual time.

use crate::compare::differences;
use crate::discovery;
use crate::norm::Norm;
use crate::rename::Renaming;
use crate::score::{Score, Verdict};
use crate::send::{self, Answers};
use crate::tape::{Case, Choices, Exchange, TOKENS, Tape};
use anyhow::{Context, anyhow};
use apiserver::admit::admission::Plugins;
use apiserver::authenticate::{SigningKey, StaticTokens};
use apiserver::{Config, Server};
use axum::Router;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use regex::Regex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The server's clock begins here: 2026-09-21T14:13:20Z.
const BEGIN: i64 = 1_790_000_000;
/// Seed of names and uids.
const SEED: u64 = 7;
/// Users of the token file as tapes call them.
const USERS: &[(&str, &str)] = &[
    ("admin", "admintoken"),
    ("alice", "alicetoken"),
    ("bob", "bobtoken"),
    ("carol", "caroltoken"),
    ("edge-1", "nodetoken"),
    ("badtoken", "no-such-token"),
];
/// Between two tries of an exchange that may take a while.
const AGAIN: Duration = Duration::from_millis(100);

/// What to replay, and how.
#[derive(Debug, Default)]
pub struct Wish {
    /// Cases whose name matches.
    pub only: Option<Regex>,
    /// Exchanges whose topic matches.
    pub topic: Option<Regex>,
    /// Cases in an order drawn from this.
    pub shuffle: Option<u64>,
    /// With other names of objects.
    pub rename: bool,
}

/// Replays a tape against a fresh server.
pub fn replay(tape: Tape, wish: &Wish) -> anyhow::Result<Score> {
    let mut cases = crate::tape::read(tape.text, wish.only.as_ref(), wish.topic.as_ref())?;
    if let Some(seed) = wish.shuffle {
        cases.shuffle(&mut StdRng::seed_from_u64(seed));
    }
    let renaming = wish.rename.then(|| Renaming::of(&cases));
    if let Some(renaming) = &renaming {
        cases.iter_mut().flatten().try_for_each(|exchange| renaming.apply(exchange))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .context("a runtime")?;
    runtime.block_on(async {
        let lab = Lab::start(tape, renaming).await?;
        let mut score = Score::default();
        for case in &cases {
            score.verdicts.extend(lab.case(case).await);
        }
        Ok(score)
    })
}

/// A server and who asks it.
struct Lab {
    router: Router,
    renaming: Option<Renaming>,
    _committer: JoinSet<()>,
}

/// A watch under way: the place of its exchange in the case, and where its answer will come.
struct Open {
    place: usize,
    collect: CancellationToken,
    answer: oneshot::Receiver<Value>,
}

impl Lab {
    async fn start(tape: Tape, renaming: Option<Renaming>) -> anyhow::Result<Self> {
        let began = Instant::now();
        let now = move || {
            let begin = jiff::Timestamp::from_second(BEGIN).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            let passed = jiff::SignedDuration::try_from(began.elapsed()).unwrap_or_default();
            begin.saturating_add(passed).unwrap_or(begin)
        };
        let owned =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let plugins = Plugins::switched(&owned(tape.enabled), &owned(tape.disabled));
        let config = Config {
            plugins: plugins.map_err(|why| anyhow!(why))?,
            tokens: Some(StaticTokens::parse(TOKENS)?),
            signing_key: Some(Arc::new(SigningKey::generate()?)),
            ..Config::new(Arc::new(now), SEED)
        };
        let log = Box::new(store::Disk::new().log());
        let (server, committer) = Server::open(config, log, CancellationToken::new())?;
        let mut tasks = JoinSet::new();
        tasks.spawn(committer.run(CancellationToken::new()));
        server.bootstrap().await.map_err(|status| anyhow!("bootstrap: {}", status.message))?;
        server.publish().await.map_err(|status| anyhow!("publish: {}", status.message))?;
        Ok(Self { router: server.router(), renaming, _committer: tasks })
    }

    /// Sends the exchanges of a case in order and judges them when all have answered: a watch opened early may
    /// show values that were drawn later.
    async fn case(&self, case: &Case) -> Vec<Verdict> {
        let answers = self.answers(case).await;
        let (mut want, mut got) = (Norm::default(), Norm::default());
        for (exchange, answer) in case.iter().zip(&answers) {
            want.learn(exchange, &exchange.response["body"]);
            if let Ok(answer) = answer {
                got.learn(exchange, &answer["body"]);
            }
        }
        let judged = case.iter().zip(answers).map(|(exchange, answer)| Verdict {
            case: exchange.case.clone(),
            step: exchange.step,
            topic: exchange.topic.clone(),
            asked: format!(
                "{} {} {}",
                exchange.user, exchange.request.method, exchange.request.path
            ),
            differences: match answer {
                Ok(answer) => differences(
                    &want.response(exchange, &exchange.response),
                    &self.named_back(got.response(exchange, &answer)),
                ),
                Err(why) => vec![format!("no answer: {why}")],
            },
            setup: exchange.options.setup,
        });
        judged.collect()
    }

    async fn answers(&self, case: &Case) -> Vec<Result<Value, String>> {
        let mut run = Run {
            lab: self,
            watches: JoinSet::new(),
            open: Vec::new(),
            answers: Answers::new(),
            done: BTreeMap::new(),
        };
        for (place, exchange) in case.iter().enumerate() {
            if exchange.options.wait > 0.0 {
                tokio::time::sleep(Duration::from_secs_f64(exchange.options.wait)).await;
            }
            run.one(place, exchange).await;
            run.collect(case, Some(exchange.step)).await;
        }
        run.collect(case, None).await;
        let missing = || Err("none".to_owned());
        (0..case.len()).map(|place| run.done.remove(&place).unwrap_or_else(missing)).collect()
    }

    /// The answer in the names of the tape.
    fn named_back(&self, mut answer: Value) -> Value {
        if let Some(renaming) = &self.renaming {
            renaming.undo(&mut answer);
        }
        answer
    }
}

/// A case under way.
struct Run<'a> {
    lab: &'a Lab,
    watches: JoinSet<()>,
    open: Vec<Open>,
    answers: Answers,
    done: BTreeMap<usize, Result<Value, String>>,
}

impl Run<'_> {
    fn keep(&mut self, place: usize, exchange: &Exchange, answer: Result<Value, String>) {
        if let Ok(answer) = &answer {
            let key = (exchange.case.clone(), exchange.step);
            self.answers.insert(key, answer["body"].clone());
        }
        self.done.insert(place, answer.map(|answer| self.lab.named_back(answer)));
    }

    async fn one(&mut self, place: usize, exchange: &Exchange) {
        let Choices { watch, eventually, .. } = &exchange.options;
        if let Some(options) = *watch {
            match self.asked(exchange).await {
                Ok(response) if response.status() == 200 => {
                    let (collect, (tell, answer)) = (CancellationToken::new(), oneshot::channel());
                    let reading = send::read_watch(response, options, collect.clone());
                    self.watches.spawn(async move {
                        let _nobody_waits = tell.send(reading.await);
                    });
                    self.open.push(Open { place, collect, answer });
                    tokio::task::yield_now().await;
                }
                Ok(response) => {
                    let answer = Ok(send::shape(response).await);
                    self.keep(place, exchange, answer);
                }
                Err(why) => self.keep(place, exchange, Err(why)),
            }
            return;
        }
        let end = Instant::now() + Duration::from_secs_f64(eventually.unwrap_or_default());
        let answer = loop {
            let answer = self.whole(exchange).await;
            if eventually.is_none() || Instant::now() > end || self.fits(exchange, &answer) {
                break answer;
            }
            tokio::time::sleep(AGAIN).await;
        };
        self.keep(place, exchange, answer);
    }

    fn fits(&self, exchange: &Exchange, answer: &Result<Value, String>) -> bool {
        answer.as_ref().is_ok_and(|answer| {
            let answer = self.lab.named_back(answer.clone());
            let want = Norm::default().response(exchange, &exchange.response);
            differences(&want, &Norm::default().response(exchange, &answer)).is_empty()
        })
    }

    async fn asked(&self, exchange: &Exchange) -> Result<http::Response<axum::body::Body>, String> {
        let user = exchange.user.as_str();
        let token = USERS.iter().find(|(name, _)| *name == user).map(|(_, token)| *token);
        let request = send::request(exchange, &self.answers, token)?;
        Ok(send::send(self.lab.router.clone(), request).await)
    }

    async fn whole(&self, exchange: &Exchange) -> Result<Value, String> {
        let mut answer = send::shape(self.asked(exchange).await?).await;
        if exchange.options.filter.is_some()
            && let Some(body) = answer.get_mut("body")
        {
            discovery::cut(body);
        }
        Ok(answer)
    }

    /// Reads the watches that end at `step`, or all that are left.
    async fn collect(&mut self, case: &Case, step: Option<i64>) {
        let mut left = Vec::new();
        for watch in std::mem::take(&mut self.open) {
            let exchange = &case[watch.place];
            let until = exchange.options.watch.and_then(|options| options.collect);
            if step.is_some_and(|step| until.is_none_or(|until| until > step)) {
                left.push(watch);
                continue;
            }
            watch.collect.cancel();
            let answer = watch.answer.await.unwrap_or_else(|_| json!({"error": "no answer"}));
            self.keep(watch.place, exchange, Ok(answer));
        }
        self.open = left;
    }
}
