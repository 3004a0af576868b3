//! The Rust side of the WIT worlds in `wit/`; nothing but generated code.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "selvedge:host/host",
    imports: { default: async | trappable },
    with: {
        "spin:sqlite/sqlite.connection": crate::host::sqlite::Connection,
        "spin:key-value/key-value.store": crate::host::key_value::Store,
        "spin:redis/redis.connection": crate::host::redis::Connection,
        "spin:mqtt/mqtt.connection": crate::host::mqtt::Connection,
        "wasi:keyvalue/store.bucket": crate::host::key_value::Store,
        "wasi:keyvalue/atomics.cas": crate::host::wasi_keyvalue::Cas,
    },
    require_store_data_send: true,
});
