//! The adapter to Spin's host interfaces: the only module that names `spin-sdk`.
//!
//! A host of another ABI is one more module like this one.

mod database;
mod incoming;
mod key_value;
mod outgoing;
mod platform;

pub use incoming::serve;
pub use platform::host;
#[doc(hidden)]
pub use spin_sdk::{wasip3, wit_bindgen};

/// Makes a [`Function`](crate::Function) the component's HTTP handler. Takes the path of a function that builds it.
///
/// Natively, where the function's tests run, there is no host to export it to: there the crate has `exported()`, which builds
/// the function for whoever calls it in process.
#[macro_export]
macro_rules! export {
    ($function:path) => {
        const _: fn() -> $crate::Function = $function;

        #[cfg(not(target_family = "wasm"))]
        #[doc(hidden)]
        pub fn exported() -> $crate::Function {
            $function()
        }

        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Component;

            impl $crate::spin::wasip3::exports::http::handler::Guest for Component {
                async fn handle(
                    request: $crate::spin::wasip3::http::types::Request,
                ) -> Result<$crate::spin::wasip3::http::types::Response, $crate::spin::wasip3::http::types::ErrorCode>
                {
                    $crate::spin::serve(request, $function).await
                }
            }

            $crate::spin::wasip3::http::service::export!(Component);
        };
    };
}
