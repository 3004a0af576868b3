//! How a crate becomes a component.

/// Makes a [`Function`](crate::Function) the component's HTTP handler. Takes the path of a function that builds it.
///
/// Natively there is no host to export it to. There the crate has `exported()`, which builds the function for whoever calls it
/// in process, as fuzz/ does.
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
