//! Device memory that work takes its buffers from, and launches that are recorded to run again.
//!
//! Work that is done again and again, as a training pass, asks for the same buffers each time. An
//! [`Arena`] sees once what is alive together, allocates that much, and hands out parts of it from then
//! on: the peak is known, nothing is allocated while the work runs, and two runs of the same work have
//! their buffers in the same places. That is what makes a [`Recording`] possible, in which a device
//! keeps a sequence of launches with their buffers and runs it at one request: a CUDA or HIP graph, on
//! WebGPU a list of dispatches.
//!
//! A place is free again when the last clone of its buffer is dropped, which is before the device has
//! come to the launches that use it. Later launches may have it all the same: a device runs them in order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cubecl::client::Graph;
use cubecl::server::Handle;

use crate::buffer::SLICE_ALIGN_BYTES;
use crate::{Context, KernelError};

/// Memory for the buffers of some work, planned when that was done once; see [`Context::within`].
///
/// Cloning shares it.
#[derive(Debug, Clone)]
pub struct Arena {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    regions: Regions,
    /// What is allocated; as many as the regions had blocks when it was.
    blocks: Vec<(Handle, u64)>,
}

impl Arena {
    /// An arena that has no memory yet.
    pub fn new(ctx: &Context) -> Self {
        // A device allocates no more than this at once.
        let limit = ctx.largest_allocation_bytes() / ALIGN * ALIGN;
        let regions = Regions { limit: limit.max(ALIGN), blocks: Vec::new() };
        Self { inner: Arc::new(Mutex::new(Inner { regions, blocks: Vec::new() })) }
    }

    /// Whether everything that was asked for so far would have had a place.
    pub fn holds_all(&self) -> bool {
        let inner = self.lock();
        let needed = inner.regions.blocks.iter().map(|block| block.most);
        needed
            .enumerate()
            .all(|(i, most)| inner.blocks.get(i).is_some_and(|(_, size)| *size >= most))
    }

    /// Bytes that it has.
    pub fn bytes(&self) -> u64 {
        self.lock().blocks.iter().map(|(_, size)| size).sum()
    }

    /// Allocates what was found to be needed. Buffers that are in use keep the memory they have.
    ///
    /// # Errors
    ///
    /// What the device reports.
    pub fn allocate(&self, ctx: &Context) -> Result<(), KernelError> {
        // What is given back first may be what there is.
        self.lock().blocks.clear();
        ctx.release_unused()?;
        let mut inner = self.lock();
        let sizes: Vec<u64> = inner.regions.blocks.iter().map(|block| block.most).collect();
        inner.blocks = sizes.iter().map(|&size| (ctx.allocate(size as usize), size)).collect();
        Ok(())
    }

    /// A place of at least `bytes`, and the memory there if it is allocated.
    pub(crate) fn take(&self, bytes: usize) -> (Arc<Lease>, Option<Handle>) {
        let mut inner = self.lock();
        let place = inner.regions.take(bytes as u64);
        let memory = inner.blocks.get(place.block).and_then(|(handle, size)| {
            let behind = size.checked_sub(place.start + place.bytes)?;
            Some(handle.clone().offset_start(place.start).offset_end(behind))
        });
        (Arc::new(Lease { arena: self.clone(), place }), memory)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    arena: Arena,
    place: Place,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.arena.lock().regions.give_back(self.place);
    }
}

const ALIGN: u64 = SLICE_ALIGN_BYTES as u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    block: usize,
    start: u64,
    bytes: u64,
}

/// Which bytes of which block are taken. Blocks come into being as they are needed.
#[derive(Debug)]
struct Regions {
    /// Most bytes of a block; a place that is larger is a block of its own.
    limit: u64,
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    limit: u64,
    /// Where the highest place so far ended.
    most: u64,
    /// Gaps between places, ascending and never side by side: (begin, end).
    free: Vec<(u64, u64)>,
}

impl Regions {
    /// The smallest gap that is large enough, and of those the lowest: a function of what was asked for
    /// and given back before.
    fn take(&mut self, bytes: u64) -> Place {
        let bytes = bytes.max(1).next_multiple_of(ALIGN);
        let gaps = self.blocks.iter().enumerate().flat_map(|(block, of_block)| {
            let gaps = of_block.free.iter().enumerate();
            // The open end is as large as it has been made, unless nothing else is there.
            gaps.map(move |(gap, &(begin, end))| {
                (end.min(of_block.most.max(begin)) - begin, block, gap)
            })
        });
        let inside = gaps.filter(|(size, ..)| *size >= bytes).min();
        let (block, gap) = match inside {
            Some((_, block, gap)) => (block, gap),
            None => self.open_end(bytes),
        };
        let of_block = &mut self.blocks[block];
        let (begin, end) = of_block.free[gap];
        match begin + bytes {
            next if next == end => _ = of_block.free.remove(gap),
            next => of_block.free[gap] = (next, end),
        }
        of_block.most = of_block.most.max(begin + bytes);
        Place { block, start: begin, bytes }
    }

    /// The last gap of the first block that can grow far enough, or of a new one.
    fn open_end(&mut self, bytes: u64) -> (usize, usize) {
        let room = |block: &Block| {
            let (begin, end) = *block.free.last()?;
            (end == block.limit && end - begin >= bytes).then(|| block.free.len() - 1)
        };
        let found = self.blocks.iter().enumerate().find_map(|(i, block)| Some((i, room(block)?)));
        found.unwrap_or_else(|| {
            let limit = self.limit.max(bytes);
            self.blocks.push(Block { limit, most: 0, free: vec![(0, limit)] });
            (self.blocks.len() - 1, 0)
        })
    }

    fn give_back(&mut self, Place { block, start, bytes }: Place) {
        let free = &mut self.blocks[block].free;
        let at = free.partition_point(|&(begin, _)| begin < start);
        free.insert(at, (start, start + bytes));
        if at + 1 < free.len() && free[at].1 == free[at + 1].0 {
            free[at].1 = free.remove(at + 1).1;
        }
        if at > 0 && free[at - 1].1 == free[at].0 {
            free[at - 1].1 = free.remove(at).1;
        }
    }
}

/// Launches that a device keeps, to run them again on what their buffers hold then.
#[derive(Debug)]
pub struct Recording {
    graph: Graph,
    /// The memory between the launches. That of operands which were there before is held by the graph.
    _arena: Arena,
    /// The device runs it after the launches of this thread, and before its next ones.
    thread: std::thread::ThreadId,
}

impl Recording {
    pub(crate) fn new(graph: Graph, arena: Arena) -> Self {
        Self { graph, _arena: arena, thread: std::thread::current().id() }
    }

    /// Queues the launches once more.
    ///
    /// # Errors
    ///
    /// What the device reports.
    ///
    /// # Panics
    ///
    /// On another thread than the one that recorded.
    pub fn replay(&self) -> Result<(), KernelError> {
        assert_eq!(self.thread, std::thread::current().id(), "a recording belongs to its thread");
        // SAFETY: the graph guards the memory of its operands against other use, the arena is held
        // here, and everything queued by this thread, which is the one that recorded, is in order.
        #[allow(unsafe_code)]
        let queued = unsafe { self.graph.replay() };
        queued.map_err(|error| KernelError::Runtime(format!("{error:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(limit: u64) -> Regions {
        Regions { limit, blocks: Vec::new() }
    }

    /// No two places overlap, gaps never touch, and all is free in the end.
    #[test]
    fn places_are_apart_and_come_back() {
        let mut state = 7u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut regions = regions(1 << 16);
        let mut taken: Vec<Place> = Vec::new();
        for _ in 0..20_000 {
            if random(2) == 0 && taken.len() < 40 {
                let place = regions.take(random(9_000));
                assert!(place.start.is_multiple_of(ALIGN));
                for other in taken.iter().filter(|other| other.block == place.block) {
                    let apart = place.start + place.bytes <= other.start
                        || other.start + other.bytes <= place.start;
                    assert!(apart, "{place:?} {other:?}");
                }
                taken.push(place);
            } else if !taken.is_empty() {
                let place = taken.swap_remove(random(taken.len() as u64) as usize);
                regions.give_back(place);
            }
            for block in &regions.blocks {
                assert!(block.free.windows(2).all(|gaps| gaps[0].1 < gaps[1].0));
                assert!(block.most <= block.limit);
            }
        }
        taken.into_iter().for_each(|place| regions.give_back(place));
        assert!(regions.blocks.len() > 1);
        assert!(regions.blocks.iter().all(|block| block.free == [(0, block.limit)]));
    }

    /// The same requests find the same places once all of them were seen.
    #[test]
    fn a_second_run_has_the_places_of_the_first() {
        let mut regions = regions(1 << 20);
        let mut run = || {
            let first = regions.take(1000);
            let second = regions.take(5000);
            regions.give_back(first);
            let third = regions.take(200);
            let fourth = regions.take(900);
            let large = regions.take(1 << 21);
            for place in [second, third, fourth, large] {
                regions.give_back(place);
            }
            [first, second, third, fourth, large]
        };
        run();
        let places = run();
        assert_eq!(places, run());
        assert_eq!(regions.blocks[0].most, 7168);
        // What no block holds has one of its own.
        assert_eq!((regions.blocks.len(), regions.blocks[1].most), (2, 1 << 21));
    }
}
