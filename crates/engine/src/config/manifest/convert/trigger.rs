//! `[[trigger.*]]` and `[application.trigger.*]`.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use toml::Spanned;

use super::template;
use crate::config::error::ConfigError;
use crate::config::manifest::toml_shape::{
    ComponentShapeOrId, CronTriggerShape, HttpTriggerShape, MqttSettingsShape, MqttTriggerShape, RedisTriggerShape,
    StaticResponseShape, TriggerSettingsShape, TriggersShape,
};
use crate::config::manifest::{
    CronTrigger, HttpHandler, HttpRoute, HttpTrigger, MqttBroker, MqttTrigger, RedisTrigger, StaticResponse,
    TriggerType, Triggers,
};
use crate::config::schedule::CronSchedule;
use crate::config::template::Template;
use crate::config::toml_source::{TextOr, TomlSource};

pub fn triggers(
    source: TomlSource<'_>,
    shape: TriggersShape,
    settings: TriggerSettingsShape,
) -> Result<Triggers, ConfigError> {
    refuse_base_path(source, &settings)?;
    let mut ids = TriggerIds::new(&shape);
    let default_address = settings
        .redis
        .map(|redis| template(source, &redis.address))
        .transpose()?;
    let mqtt_broker = settings.mqtt.map(|mqtt| mqtt_broker(source, mqtt)).transpose()?;
    let mut triggers = Triggers {
        mqtt_broker,
        ..Triggers::default()
    };
    for trigger in shape.http {
        triggers.http.push(http_trigger(source, trigger, &mut ids)?);
    }
    for trigger in shape.cron {
        triggers.cron.push(cron_trigger(source, trigger, &mut ids)?);
    }
    for trigger in shape.redis {
        triggers
            .redis
            .push(redis_trigger(source, trigger, default_address.as_ref(), &mut ids)?);
    }
    for trigger in shape.mqtt {
        triggers
            .mqtt
            .push(mqtt_trigger(source, trigger, triggers.mqtt_broker.is_some(), &mut ids)?);
    }
    Ok(triggers)
}

fn refuse_base_path(source: TomlSource<'_>, settings: &TriggerSettingsShape) -> Result<(), ConfigError> {
    match settings.http.as_ref().and_then(|http| http.base.as_ref()) {
        Some(base) if base.get_ref() != "/" => {
            let problem = "the `base` of [application.trigger.http] is no longer supported by Spin";
            Err(ConfigError::invalid(
                source.at(&base.span()),
                problem,
                "write it in front of each `route` instead",
            ))
        }
        _ => Ok(()),
    }
}

/// Gives an id to a trigger that has none: Spin's rule, so that logs of both engines name it alike.
struct TriggerIds {
    taken: BTreeSet<String>,
}

impl TriggerIds {
    fn new(shape: &TriggersShape) -> Self {
        let http = shape.http.iter().map(|trigger| &trigger.get_ref().id);
        let cron = shape.cron.iter().map(|trigger| &trigger.get_ref().id);
        let redis = shape.redis.iter().map(|trigger| &trigger.get_ref().id);
        let mqtt = shape.mqtt.iter().map(|trigger| &trigger.get_ref().id);
        Self {
            taken: http.chain(cron).chain(redis).chain(mqtt).cloned().collect(),
        }
    }

    fn id(&mut self, own: String, kind: TriggerType, component: Option<&str>) -> String {
        if !own.is_empty() {
            return own;
        }
        let natural = component.map(|component| format!("{component}-{kind}-trigger"));
        let counted = (1_usize..).map(|count| format!("{kind}-trigger{count}"));
        let free = natural.into_iter().chain(counted).find(|id| !self.taken.contains(id));
        let id = free.expect("there are more numbers than triggers");
        self.taken.insert(id.clone());
        id
    }
}

/// The id in a trigger's `component`; not yet whether there is such a component.
fn component_id(source: TomlSource<'_>, kind: TriggerType, shape: ComponentShapeOrId) -> Result<String, ConfigError> {
    let location = source.at(&shape.span());
    match shape.into_inner() {
        TextOr::Text(id) => Ok(id),
        TextOr::Table(_) => Err(ConfigError::unsupported(
            location,
            format!("a component written inside [[trigger.{kind}]]"),
            "move it to a [component.<id>] table of its own and write `component = \"<id>\"`",
        )),
    }
}

fn http_trigger(
    source: TomlSource<'_>,
    shape: Spanned<HttpTriggerShape>,
    ids: &mut TriggerIds,
) -> Result<HttpTrigger, ConfigError> {
    let location = source.at(&shape.span());
    let shape = shape.into_inner();
    for (key, value) in [("components", &shape.components), ("dependencies", &shape.dependencies)] {
        if let Some(value) = value {
            let feature = format!("`{key}` in [[trigger.http]]");
            return Err(ConfigError::unsupported(
                source.at(&value.span()),
                feature,
                "remove the key",
            ));
        }
    }
    if let Some(executor) = &shape.executor
        && !matches!(executor.get_ref().r#type.as_str(), "http" | "spin")
    {
        let feature = format!("the executor \"{}\" of [[trigger.http]]", executor.get_ref().r#type);
        return Err(ConfigError::unsupported(
            source.at(&executor.span()),
            feature,
            "remove the key, or use \"http\"",
        ));
    }
    let route = match shape.route.get_ref() {
        TextOr::Text(path) => HttpRoute::Path(path.clone()),
        TextOr::Table(route) if route.private => HttpRoute::Private,
        TextOr::Table(_) => {
            let problem = "a `route` is `{ private = false }`";
            let remedy = "write a path such as \"/todos/...\", or `{ private = true }`";
            return Err(ConfigError::invalid(source.at(&shape.route.span()), problem, remedy));
        }
    };
    let handler = match (shape.component, shape.static_response) {
        (Some(component), None) => HttpHandler::Component(component_id(source, TriggerType::Http, component)?),
        (None, Some(response)) => HttpHandler::Static(static_response(source, response)?),
        _ => {
            let problem = "[[trigger.http]] must have either a `component` or a `static_response`";
            return Err(ConfigError::invalid(
                location,
                problem,
                "give it exactly one of the two",
            ));
        }
    };
    let component = match &handler {
        HttpHandler::Component(id) => Some(id.as_str()),
        HttpHandler::Static(_) => None,
    };
    let id = ids.id(shape.id, TriggerType::Http, component);
    Ok(HttpTrigger {
        id,
        route,
        handler,
        line: location.line,
    })
}

fn static_response(source: TomlSource<'_>, shape: Spanned<StaticResponseShape>) -> Result<StaticResponse, ConfigError> {
    let location = source.at(&shape.span());
    let StaticResponseShape {
        status_code,
        headers: pairs,
        body,
    } = shape.into_inner();
    let Ok(status) = StatusCode::from_u16(status_code.unwrap_or(200)) else {
        let problem = "the `status_code` of a `static_response` is no HTTP status";
        return Err(ConfigError::invalid(location, problem, "use a number from 100 to 999"));
    };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let (Ok(header), Ok(value)) = (HeaderName::try_from(&name), HeaderValue::try_from(value)) else {
            let problem = format!("the header \"{name}\" of a `static_response` is malformed");
            return Err(ConfigError::invalid(location, problem, "correct its name or its value"));
        };
        headers.insert(header, value);
    }
    Ok(StaticResponse { status, headers, body })
}

fn cron_trigger(
    source: TomlSource<'_>,
    shape: Spanned<CronTriggerShape>,
    ids: &mut TriggerIds,
) -> Result<CronTrigger, ConfigError> {
    let line = source.line(&shape.span());
    let CronTriggerShape {
        id,
        component,
        cron_expression,
    } = shape.into_inner();
    let component = component_id(source, TriggerType::Cron, component)?;
    let schedule = CronSchedule::parse(cron_expression.get_ref()).map_err(|problem| {
        let remedy = "write for example \"*/5 * * * * *\" for every five seconds";
        ConfigError::invalid(source.at(&cron_expression.span()), problem, remedy)
    })?;
    Ok(CronTrigger {
        id: ids.id(id, TriggerType::Cron, Some(&component)),
        component,
        schedule,
        line,
    })
}

fn redis_trigger(
    source: TomlSource<'_>,
    shape: Spanned<RedisTriggerShape>,
    default_address: Option<&Template>,
    ids: &mut TriggerIds,
) -> Result<RedisTrigger, ConfigError> {
    let location = source.at(&shape.span());
    let RedisTriggerShape {
        id,
        component,
        channel,
        address,
    } = shape.into_inner();
    let component = component_id(source, TriggerType::Redis, component)?;
    let own_address = address.map(|address| template(source, &address)).transpose()?;
    let Some(address) = own_address.or_else(|| default_address.cloned()) else {
        let problem = format!("the redis trigger of \"{component}\" has no `address`");
        let remedy = "add one, or set it for all in [application.trigger.redis]";
        return Err(ConfigError::invalid(location, problem, remedy));
    };
    let id = ids.id(id, TriggerType::Redis, Some(&component));
    Ok(RedisTrigger {
        id,
        component,
        address,
        channel: template(source, &channel)?,
        line: location.line,
    })
}

fn mqtt_trigger(
    source: TomlSource<'_>,
    shape: Spanned<MqttTriggerShape>,
    has_broker: bool,
    ids: &mut TriggerIds,
) -> Result<MqttTrigger, ConfigError> {
    let location = source.at(&shape.span());
    let MqttTriggerShape {
        id,
        component,
        topic,
        qos,
    } = shape.into_inner();
    let component = component_id(source, TriggerType::Mqtt, component)?;
    if !has_broker {
        let problem = format!("the mqtt trigger of \"{component}\" has no broker");
        let remedy = "add [application.trigger.mqtt] with address, username, password and keep_alive_interval";
        return Err(ConfigError::invalid(location, problem, remedy));
    }
    let level = match qos.get_ref().as_str() {
        "0" => 0,
        "1" => 1,
        "2" => 2,
        other => {
            let problem = format!("the `qos` of an mqtt trigger is \"{other}\"");
            return Err(ConfigError::invalid(
                source.at(&qos.span()),
                problem,
                "use \"0\", \"1\" or \"2\"",
            ));
        }
    };
    let id = ids.id(id, TriggerType::Mqtt, Some(&component));
    Ok(MqttTrigger {
        id,
        component,
        topic: template(source, &topic)?,
        qos: level,
        line: location.line,
    })
}

fn mqtt_broker(source: TomlSource<'_>, shape: MqttSettingsShape) -> Result<MqttBroker, ConfigError> {
    let interval = &shape.keep_alive_interval;
    let Ok(keep_alive_s) = interval.get_ref().parse() else {
        let problem = "the `keep_alive_interval` of [application.trigger.mqtt] is no number of seconds";
        return Err(ConfigError::invalid(
            source.at(&interval.span()),
            problem,
            "write for example \"30\"",
        ));
    };
    // The password is usually a template; a literal one must not show in an error either.
    let Ok(password) = Template::parse(&shape.password.get_ref().0) else {
        let problem = "the `password` of [application.trigger.mqtt] has a `{{` without its `}}`";
        let location = source.at(&shape.password.span());
        return Err(ConfigError::invalid(location, problem, "close each `{{` with `}}`"));
    };
    Ok(MqttBroker {
        address: template(source, &shape.address)?,
        username: template(source, &shape.username)?,
        password,
        keep_alive_s,
    })
}
