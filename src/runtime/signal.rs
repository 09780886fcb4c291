//! Wakes one task of the same core.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A flag that one task waits for and any other of its core raises. Raising it again before it was seen changes nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signal {
    inner: Rc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    raised: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Signal {
    /// Raises the flag and wakes the waiter, if it waits.
    pub(crate) fn raise(&self) {
        if !self.inner.raised.replace(true)
            && let Some(waiter) = self.inner.waiter.borrow_mut().take()
        {
            waiter.wake();
        }
    }

    /// Waits until the flag is raised, and lowers it.
    pub(crate) async fn raised(&self) {
        poll_fn(|context| {
            if self.inner.raised.replace(false) {
                return Poll::Ready(());
            }
            *self.inner.waiter.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
