//! Words of the host over TCP: every rank has a connection to rank 0, for as long as the run lasts.
//!
//! A frame is its kind, a count and so many words of 64 bits, little-endian. A connection that ends
//! without a farewell, or says that its rank failed, is a lost rank: rank 0 tells the others, and every
//! process that hears of it ends. Whoever can reach the port can join, so it belongs in a network of
//! one's own.

use std::io::{self, Read, Write};
#[cfg(feature = "nccl")]
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::CollectiveError;

/// How long ranks wait for each other in the beginning: machines start jobs minutes apart.
const JOIN: Duration = Duration::from_secs(300);
/// How long who connects may take to say which rank it is.
const HELLO: Duration = Duration::from_secs(10);
/// Pause between two tries to reach rank 0.
const RETRY: Duration = Duration::from_millis(50);
/// What a rank says first, so that a stranger is noticed: `bertdp`, and the version of the frames.
const MAGIC: u64 = u64::from_be_bytes(*b"bertdp\0\x01");
/// A count above this is not one of ours.
const MAX_WORDS: u32 = 1 << 24;

const WORDS: u32 = 1;
const FAREWELL: u32 = 2;
const FAILURE: u32 = 3;

/// What to do when a rank is lost, with the message that names it.
type OnLoss = Arc<dyn Fn(&str) + Send + Sync>;

/// One rank's connections: of rank 0 to all others, of the others to rank 0.
pub(super) struct Star {
    pub rank: usize,
    pub world_size: usize,
    links: Vec<Link>,
}

struct Link {
    peer: usize,
    writer: Arc<Mutex<TcpStream>>,
    words: Receiver<Vec<u64>>,
}

impl Star {
    /// Meets the other ranks at `host:port`, where rank 0 listens.
    ///
    /// # Errors
    ///
    /// [`CollectiveError::Rendezvous`] if not all come within five minutes.
    #[cfg(feature = "nccl")]
    pub fn meet(
        rank: usize,
        world_size: usize,
        (host, port): (&str, u16),
        on_loss: OnLoss,
    ) -> Result<Self, CollectiveError> {
        let address = format!("{host}:{port}");
        let fail = |reason| CollectiveError::Rendezvous { address, reason };
        if rank > 0 {
            return Self::of_spoke(rank, world_size, (host, port), on_loss).map_err(|error| {
                fail(format!("expected rank 0 to listen for ranks there, but {error}"))
            });
        }
        // Of all interfaces, because a machine may know itself by a name that others do not.
        let all: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
        match TcpListener::bind(&all.map(|ip| SocketAddr::new(ip, port))[..]) {
            Ok(listener) => Self::of_hub(world_size, &listener, on_loss, JOIN).map_err(fail),
            Err(error) => Err(fail(format!("expected a free port for rank 0, but {error}"))),
        }
    }

    fn of_spoke(
        rank: usize,
        world_size: usize,
        hub: (&str, u16),
        on_loss: OnLoss,
    ) -> io::Result<Self> {
        let mut stream = connect(hub)?;
        stream.set_nodelay(true)?;
        send(&mut stream, WORDS, &[MAGIC, rank as u64, world_size as u64])?;
        let mut links = vec![Link::unheard(0, stream)];
        listen(&mut links, &on_loss)?;
        Ok(Self { rank, world_size, links })
    }

    fn of_hub(
        world_size: usize,
        listener: &TcpListener,
        on_loss: OnLoss,
        patience: Duration,
    ) -> Result<Self, String> {
        let refused = |error: io::Error| error.to_string();
        listener.set_nonblocking(true).map_err(refused)?;
        let mut spokes: Vec<Option<TcpStream>> = (1..world_size).map(|_| None).collect();
        let end = Instant::now() + patience;
        while spokes.iter().any(Option::is_none) {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() < end {
                        thread::sleep(RETRY);
                        continue;
                    }
                    let missing: Vec<String> = (1..world_size)
                        .filter(|rank| spokes[rank - 1].is_none())
                        .map(|rank| rank.to_string())
                        .collect();
                    return Err(format!(
                        "expected all of {world_size} ranks within {} s, but rank {} did not come",
                        patience.as_secs(),
                        missing.join(", ")
                    ));
                }
                Err(error) => return Err(error.to_string()),
            };
            let Some((rank, world, stream)) = greeted(stream) else {
                continue;
            };
            if world != world_size as u64 {
                return Err(format!(
                    "rank {rank} has WORLD_SIZE {world}: expected {world_size}, as rank 0 has"
                ));
            }
            match (rank as usize).checked_sub(1).and_then(|place| spokes.get_mut(place)) {
                Some(place @ None) => *place = Some(stream),
                _ => return Err(format!("rank {rank} came, which is here already")),
            }
        }
        let mut links: Vec<Link> = (1..)
            .zip(spokes.into_iter().flatten())
            .map(|(rank, stream)| Link::unheard(rank, stream))
            .collect();
        listen(&mut links, &on_loss).map_err(refused)?;
        Ok(Self { rank: 0, world_size, links })
    }

    /// As [`Communicator::all_gather`](super::Communicator::all_gather).
    pub fn all_gather(&self, words: &[u64]) -> Result<Vec<Vec<u64>>, CollectiveError> {
        if self.rank > 0 {
            let hub = &self.links[0];
            hub.send(words)?;
            let all = hub.receive(words.len() * self.world_size)?;
            let of = |rank: usize| all[rank * words.len()..(rank + 1) * words.len()].to_vec();
            return Ok((0..self.world_size).map(of).collect());
        }
        let mut all = vec![words.to_vec()];
        for link in &self.links {
            all.push(link.receive(words.len())?);
        }
        let joined = all.concat();
        self.links.iter().try_for_each(|link| link.send(&joined))?;
        Ok(all)
    }

    /// Tells whoever this rank reaches that it failed.
    pub fn fail(&self, message: &str) {
        for link in &self.links {
            // Who does not hear it is lost to all anyway.
            let _ = say(&link.writer, FAILURE, message.as_bytes());
        }
    }
}

impl Drop for Star {
    fn drop(&mut self) {
        for link in &self.links {
            // Whoever is gone needs no farewell; whoever panics takes none, and is missed.
            if !thread::panicking() {
                let _ = say(&link.writer, FAREWELL, &[]);
            }
        }
    }
}

impl Link {
    /// A connection that nobody listens to yet.
    fn unheard(peer: usize, stream: TcpStream) -> Self {
        Self { peer, writer: Arc::new(Mutex::new(stream)), words: channel().1 }
    }

    fn send(&self, words: &[u64]) -> Result<(), CollectiveError> {
        let mut stream = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        send(&mut stream, WORDS, words).map_err(|_| CollectiveError::Lost { rank: self.peer })
    }

    fn receive(&self, expected: usize) -> Result<Vec<u64>, CollectiveError> {
        let lost = |_| CollectiveError::Lost { rank: self.peer };
        let words = self.words.recv().map_err(lost)?;
        if words.len() == expected {
            return Ok(words);
        }
        Err(CollectiveError::Differs {
            rank: self.peer,
            expected: format!("{expected} words"),
            found: words.len().to_string(),
        })
    }
}

/// Starts a thread for each connection that takes in what comes.
fn listen(links: &mut [Link], on_loss: &OnLoss) -> io::Result<()> {
    let writers: Vec<(usize, Arc<Mutex<TcpStream>>)> =
        links.iter().map(|link| (link.peer, Arc::clone(&link.writer))).collect();
    for link in links {
        let stream = link.writer.lock().unwrap_or_else(PoisonError::into_inner).try_clone()?;
        stream.set_read_timeout(None)?;
        let (sender, words) = channel();
        link.words = words;
        let (peer, writers, on_loss) = (link.peer, writers.clone(), Arc::clone(on_loss));
        thread::spawn(move || {
            if let Err(message) = take_in(stream, peer, &sender) {
                // Rank 0 tells the others; all others have heard it from rank 0.
                for (_, writer) in writers.iter().filter(|(other, _)| *other != peer) {
                    let _ = say(writer, FAILURE, message.as_bytes());
                }
                on_loss(&message);
            }
        });
    }
    Ok(())
}

/// Takes in frames until the farewell; the error is a message that names the rank that was lost.
fn take_in(mut stream: TcpStream, peer: usize, words: &Sender<Vec<u64>>) -> Result<(), String> {
    loop {
        match receive(&mut stream) {
            Ok((WORDS, body)) => {
                // Whoever does not want them any more is about to say farewell.
                let _ = words.send(body);
            }
            Ok((FAREWELL, _)) => return Ok(()),
            Ok((_, body)) => return Err(text(&body)),
            Err(_) => return Err(format!("rank {peer} has ended")),
        }
    }
}

/// Reaches rank 0, which may not be there yet.
fn connect(address: (&str, u16)) -> io::Result<TcpStream> {
    let end = Instant::now() + JOIN;
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => thread::sleep(RETRY),
        }
    }
}

/// What a rank that connects says: its number and how many it thinks there are. A stranger says
/// something else.
fn greeted(mut stream: TcpStream) -> Option<(u64, u64, TcpStream)> {
    stream.set_nonblocking(false).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(HELLO)).ok()?;
    match receive(&mut stream).ok()? {
        (WORDS, body) => match body[..] {
            [MAGIC, rank, world_size] => Some((rank, world_size, stream)),
            _ => None,
        },
        _ => None,
    }
}

fn send(stream: &mut TcpStream, kind: u32, words: &[u64]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(8 + 8 * words.len());
    frame.extend(kind.to_le_bytes());
    frame.extend((words.len() as u32).to_le_bytes());
    words.iter().for_each(|word| frame.extend(word.to_le_bytes()));
    stream.write_all(&frame)
}

fn receive(stream: &mut TcpStream) -> io::Result<(u32, Vec<u64>)> {
    let mut word = [0; 4];
    stream.read_exact(&mut word)?;
    let kind = u32::from_le_bytes(word);
    stream.read_exact(&mut word)?;
    let count = u32::from_le_bytes(word);
    if count > MAX_WORDS {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; 8 * count as usize];
    stream.read_exact(&mut bytes)?;
    let words = bytes
        .chunks_exact(8)
        .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("a chunk has eight bytes")));
    Ok((kind, words.collect()))
}

/// Sends a text: its length in bytes, then its bytes, in words.
fn say(writer: &Mutex<TcpStream>, kind: u32, text: &[u8]) -> io::Result<()> {
    let mut words = vec![text.len() as u64];
    words.extend(text.chunks(8).map(|bytes| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    }));
    send(&mut writer.lock().unwrap_or_else(PoisonError::into_inner), kind, &words)
}

fn text(words: &[u64]) -> String {
    let Some((&length, words)) = words.split_first() else {
        return String::new();
    };
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.truncate(length as usize);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A world in threads; `work` runs on each rank, and losses arrive at the receivers.
    fn world<T: Send>(
        world_size: usize,
        work: impl Fn(Star) -> T + Sync,
    ) -> (Vec<T>, Vec<Receiver<String>>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let hub = ("127.0.0.1", listener.local_addr().unwrap().port());
        let (losses, heard): (Vec<OnLoss>, Vec<_>) = (0..world_size)
            .map(|_| {
                let (sender, receiver) = channel();
                let on_loss: OnLoss = Arc::new(move |message: &str| {
                    let _ = sender.send(message.to_string());
                });
                (on_loss, receiver)
            })
            .unzip();
        let results = thread::scope(|scope| {
            let start = |(rank, on_loss): (usize, OnLoss)| {
                let (listener, work) = (&listener, &work);
                scope.spawn(move || {
                    work(match rank {
                        0 => Star::of_hub(world_size, listener, on_loss, JOIN).unwrap(),
                        _ => Star::of_spoke(rank, world_size, hub, on_loss).unwrap(),
                    })
                })
            };
            let ranks: Vec<_> = losses.into_iter().enumerate().map(start).collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        });
        (results, heard)
    }

    #[test]
    fn words_are_gathered_in_the_order_of_ranks_again_and_again() {
        let (results, heard) = world(3, |star| {
            let mut last = Vec::new();
            for round in 0..50 {
                last = star.all_gather(&[star.rank as u64, round]).unwrap();
            }
            assert_eq!(star.all_gather(&[]).unwrap(), [[0; 0]; 3]);
            last
        });
        assert_eq!(results, vec![vec![vec![0, 49], vec![1, 49], vec![2, 49]]; 3]);
        // All said farewell, so nobody is missed.
        assert!(heard.iter().all(|heard| heard.recv().is_err()));
    }

    #[test]
    fn a_rank_that_fails_is_named_to_all() {
        let (_, heard) = world(3, |star| {
            if star.rank == 2 {
                star.fail("rank 2 of 3: the disk is full");
            }
            // Nobody leaves before the failure is heard: rank 2 never gathers.
            if star.rank != 2 { star.all_gather(&[1]).err() } else { None }
        });
        for rank in [0, 1] {
            assert_eq!(heard[rank].recv().unwrap(), "rank 2 of 3: the disk is full");
        }
    }

    #[test]
    fn a_rank_that_vanishes_is_named_to_all() {
        let (results, heard) = world(3, |star| {
            if star.rank == 1 {
                let stream = star.links[0].writer.lock().unwrap();
                stream.shutdown(std::net::Shutdown::Both).unwrap();
                return None;
            }
            star.all_gather(&[1]).err()
        });
        assert_eq!(results[0], Some(CollectiveError::Lost { rank: 1 }));
        assert_eq!(heard[0].recv().unwrap(), "rank 1 has ended");
        assert_eq!(heard[2].recv().unwrap(), "rank 1 has ended");
    }

    #[test]
    fn strangers_are_ignored_and_a_wrong_world_is_refused() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let hub = ("127.0.0.1", listener.local_addr().unwrap().port());
        let mut stranger = TcpStream::connect(hub).unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let silent: OnLoss = Arc::new(|_| {});
        let _other = Star::of_spoke(1, 3, hub, Arc::clone(&silent)).unwrap();
        let found = Star::of_hub(2, &listener, silent, JOIN).err().unwrap();
        assert_eq!(found, "rank 1 has WORLD_SIZE 3: expected 2, as rank 0 has");
    }

    #[test]
    fn who_does_not_come_is_named() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let found = Star::of_hub(3, &listener, Arc::new(|_| {}), Duration::ZERO).err().unwrap();
        assert!(found.ends_with("rank 1, 2 did not come"), "{found}");
    }
}
