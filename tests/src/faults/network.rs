//! The network between a daemon and its Postgres: a proxy whose weather changes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    /// It arrives.
    Fair,
    /// It arrives late, in small pieces.
    Slow,
    /// One request in so many never arrives, and its connection ends.
    LosesRequests(u64),
    /// One request in so many is done, and its connection ends before the answer arrives.
    LosesAnswers(u64),
    /// One answer in so many breaks off in the middle, and its connection ends.
    Truncates(u64),
    /// Requests arrive and answers do not; no connection ends.
    SwallowsAnswers,
    /// Nothing arrives; no connection ends.
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Daemon,
    Postgres,
}

/// The proxy; it ends with its value.
#[derive(Debug)]
pub(super) struct Network {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    /// Connections that it has ended.
    cuts: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Network {
    /// Before the server at this address.
    pub(super) async fn start(server: String) -> Network {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, seen) = watch::channel(Weather::Fair);
        let (pieces, cuts) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counted = cuts.clone();
        let task = tokio::spawn(async move {
            while let Ok((daemon, _)) = listener.accept().await {
                // A server that is away refuses, and so does the way to it: by hanging up.
                if let Ok(server) = TcpStream::connect(&server).await {
                    let way = Way {
                        weather: seen.clone(),
                        pieces: pieces.clone(),
                        cuts: counted.clone(),
                    };
                    way.connect(daemon, server);
                }
            }
        });
        Network { address, weather, cuts, task }
    }

    /// `host:port`.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on.
    pub(super) fn turn(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Connections that it has ended so far.
    pub(super) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the two directions of a connection share.
#[derive(Debug, Clone)]
struct Way {
    weather: watch::Receiver<Weather>,
    /// Pieces that something could have happened to.
    pieces: Arc<AtomicU64>,
    cuts: Arc<AtomicU64>,
}

impl Way {
    fn connect(self, daemon: TcpStream, postgres: TcpStream) {
        let (from_daemon, to_daemon) = daemon.into_split();
        let (from_postgres, to_postgres) = postgres.into_split();
        let (over, _) = watch::channel(false);
        for (speaker, from, to) in [
            (Speaker::Daemon, from_daemon, to_postgres),
            (Speaker::Postgres, from_postgres, to_daemon),
        ] {
            let (mut way, over) = (self.clone(), over.clone());
            tokio::spawn(async move {
                let mut ended = over.subscribe();
                tokio::select! {
                    () = way.carry(speaker, from, to) => {}
                    _ = ended.wait_for(|over| *over) => {}
                }
                over.send_replace(true);
            });
        }
    }

    async fn carry(&mut self, speaker: Speaker, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            let Some(arriving) = self.arriving(speaker, count).await else {
                self.cuts.fetch_add(1, Ordering::Relaxed);
                return;
            };
            if to.write_all(&bytes[..arriving]).await.is_err() {
                return;
            }
            if arriving < count {
                self.cuts.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }

    /// How much of a piece arrives before the connection ends; none if not even that.
    async fn arriving(&mut self, speaker: Speaker, count: usize) -> Option<usize> {
        let weather = *self.weather.borrow_and_update();
        let is_hit = |one_in| self.pieces.fetch_add(1, Ordering::Relaxed) % one_in == one_in - 1;
        match (weather, speaker) {
            (Weather::Fair, _) => Some(count),
            (Weather::Slow, _) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some(count)
            }
            (Weather::LosesRequests(one_in), Speaker::Daemon)
            | (Weather::LosesAnswers(one_in), Speaker::Postgres) => {
                (!is_hit(one_in)).then_some(count)
            }
            (Weather::Truncates(one_in), Speaker::Postgres) => {
                Some(if is_hit(one_in) { count / 2 } else { count })
            }
            (Weather::LosesRequests(_), Speaker::Postgres)
            | (Weather::LosesAnswers(_) | Weather::Truncates(_), Speaker::Daemon)
            | (Weather::SwallowsAnswers, Speaker::Daemon) => Some(count),
            (Weather::SwallowsAnswers, Speaker::Postgres) | (Weather::Silent, _) => {
                // What was held back arrives when the weather turns: nothing is lost on TCP.
                let turned = self.weather.wait_for(|now| *now != weather).await;
                turned.is_ok().then_some(count)
            }
        }
    }
}
