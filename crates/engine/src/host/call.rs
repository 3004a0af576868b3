//! The one way from an import to a port: past the [`Gate`].

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;

use crate::ports::{Gate, HostCall, Verdict};

/// Who calls, and the gate that the call goes through.
#[derive(Clone)]
pub(crate) struct Caller {
    pub component: Arc<str>,
    pub gate: Option<Arc<dyn Gate>>,
}

impl Caller {
    /// Does `work`, asking the gate before and after. `detail` is asked for only when somebody listens; `fail` makes the
    /// interface's own error of the gate's text.
    pub async fn call<T, E>(
        &self,
        function: &'static str,
        detail: impl FnOnce() -> String,
        fail: impl Fn(String) -> E,
        work: impl Future<Output = Result<T, E>>,
    ) -> wasmtime::Result<Result<T, E>> {
        self.call_with(function, detail, fail, |_| work).await
    }

    /// The same for work that can be copied: it is told after which time a copy of it is to be done, if at all.
    pub async fn call_with<T, E, W: Future<Output = Result<T, E>>>(
        &self,
        function: &'static str,
        detail: impl FnOnce() -> String,
        fail: impl Fn(String) -> E,
        work: impl FnOnce(Option<Duration>) -> W,
    ) -> wasmtime::Result<Result<T, E>> {
        let Some(gate) = &self.gate else {
            return Ok(work(None).await);
        };
        let call = HostCall {
            component: self.component.clone(),
            function,
            detail: detail(),
        };
        let copy_after = match gate.before(&call).await {
            Verdict::Proceed => None,
            Verdict::Copy(after) => Some(after),
            Verdict::Fail(text) => return Ok(Err(fail(text))),
            Verdict::Trap => wasmtime::bail!("{} was trapped before {function}", self.component),
        };
        let answer = work(copy_after).await;
        match gate.after(&call).await {
            Verdict::Proceed | Verdict::Copy(_) => Ok(answer),
            Verdict::Fail(text) => Ok(Err(fail(text))),
            Verdict::Trap => wasmtime::bail!("{} was trapped after {function}", self.component),
        }
    }
}

/// Ends an instance from a host call that can't trap by itself (`wasi:http`'s hooks answer with errors only).
#[derive(Default)]
pub(crate) struct TrapSignal {
    trapped: AtomicBool,
    waker: AtomicWaker,
}

impl TrapSignal {
    /// Asks for the instance's end.
    pub fn trap(&self) {
        self.trapped.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Ready once the end was asked for.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        self.waker.register(context.waker());
        if self.trapped.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
