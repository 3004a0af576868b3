//! Where a node may be lost: at the n-th thing that it does, before or after that had its effect.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use selvedge::Error;
use selvedge::host::LocalFuture;

/// Whether what a node was lost at had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    Before,
    After,
}

#[derive(Clone, Default)]
pub struct Node(Rc<State>);

#[derive(Default)]
struct State {
    /// How many things were done.
    count: Cell<usize>,
    /// Which one it is lost at.
    at: Cell<Option<(usize, Lost)>>,
    is_lost: Cell<bool>,
    /// What it did, for those who look for a failure.
    done: RefCell<Vec<String>>,
}

impl Node {
    /// Has the node be lost at the `place`-th thing that it does from now on, counted from 1.
    pub fn lose_at(&self, place: usize, lost: Lost) {
        self.0.count.set(0);
        self.0.done.borrow_mut().clear();
        self.0.at.set(Some((place, lost)));
    }

    /// Starts it again, and says whether it was lost.
    pub fn start_again(&self) -> bool {
        self.0.at.set(None);
        self.0.is_lost.replace(false)
    }

    /// The last things that it did.
    pub fn done(&self) -> String {
        let done = self.0.done.borrow();
        done[done.len().saturating_sub(3)..].join("\n")
    }

    /// A statement. A node that is lost does none; its caller is nobody any more.
    pub fn statement<T>(&self, run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let gone = || Error::Database {
            detail: "the node is lost".to_owned(),
        };
        match self.next("a statement") {
            None if self.0.is_lost.get() => Err(gone()),
            None => run(),
            Some(Lost::Before) => Err(gone()),
            Some(Lost::After) => run().and_then(|_| Err(gone())),
        }
    }

    /// A call, whose answer never comes once the node is lost.
    pub fn pass<T: 'static>(&self, call: LocalFuture<T>) -> LocalFuture<T> {
        let node = self.clone();
        Box::pin(async move {
            match node.next("a call") {
                None if !node.0.is_lost.get() => {
                    let answer = call.await;
                    if !node.0.is_lost.get() {
                        return answer;
                    }
                }
                Some(Lost::After) => {
                    node.0.is_lost.set(false);
                    call.await;
                    node.0.is_lost.set(true);
                }
                _ => {}
            }
            std::future::pending().await
        })
    }

    fn next(&self, what: &str) -> Option<Lost> {
        if self.0.is_lost.get() {
            return None;
        }
        self.0.count.set(self.0.count.get() + 1);
        self.0.done.borrow_mut().push(format!("{}: {what}", self.0.count.get()));
        let (place, lost) = self.0.at.get()?;
        (place == self.0.count.get()).then(|| {
            self.0.is_lost.set(true);
            lost
        })
    }
}
