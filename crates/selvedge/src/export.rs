//! How a crate becomes a component.

/// Makes a [`Function`](crate::Function) what the component's triggers call: HTTP, Redis and MQTT, all three of them, so that
/// spin.toml alone says by which way events come. Takes the path of a function that builds it.
///
/// The crate lies two folders below `wit/`, where the triggers' worlds are.
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

            // Made here and not in the kernel: whatever links the kernel would have this world's types in its own, and those
            // of the MQTT trigger and of the cron trigger don't go together.
            mod triggers {
                $crate::spin::wit_bindgen::generate!({
                    path: "../../wit",
                    world: "selvedge:host/function",
                    runtime_path: "::selvedge::spin::wit_bindgen::rt",
                    generate_all,
                });
            }

            impl triggers::exports::spin::redis::inbound_redis::Guest for Component {
                async fn handle_message(
                    message: triggers::spin::redis::redis::Payload,
                ) -> Result<(), triggers::spin::redis::redis::Error> {
                    let heard = $crate::spin::hear(message, $function).await;
                    heard.map_err(triggers::spin::redis::redis::Error::Other)
                }
            }

            impl triggers::Guest for Component {
                async fn handle_message(
                    message: triggers::Payload,
                    _metadata: triggers::Metadata,
                ) -> Result<(), triggers::Error> {
                    let heard = $crate::spin::hear(message, $function).await;
                    heard.map_err(triggers::Error::Other)
                }
            }

    triggers::export!(Component with_types_in triggers);
        };
    };
}
