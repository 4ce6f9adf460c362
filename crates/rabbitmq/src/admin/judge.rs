// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an exchange or a queue cannot promise, from what the management interface tells of it.

use chancery::{Finding, Promise};
use serde_json::Value;

/// From this line on, a queue without a limit of its own has this one.
const LIMITED_SINCE: (u64, u64) = (4, 20);

/// What the exchange cannot promise.
pub(super) fn exchange(vhost: &str, live: &Value) -> Vec<Finding> {
    let name = text(live, "name");
    let mut findings = Vec::new();
    if live.get("durable") != Some(&Value::Bool(true)) {
        findings.push(certain(
            Promise::NothingLost,
            format!("exchange {name} and its bindings are gone when the broker restarts"),
            "durable=false",
            format!(
                "rabbitmqadmin -V {vhost} delete exchange name={name}, then declare exchange \
                 name={name} type=topic durable=true, and bind its queues again"
            ),
        ));
    }
    if text(live, "type") == "headers" {
        findings.push(certain(
            Promise::Order,
            format!("exchange {name} routes by header fields, which nobody has signed"),
            "type=headers",
            format!("rabbitmqadmin -V {vhost} declare exchange name=NEW type=topic durable=true"),
        ));
    }
    findings
}

/// What the queue cannot promise; `server` is `RabbitMQ 4.0.5`.
pub(super) fn queue(vhost: &str, live: &Value, server: &str) -> Vec<Finding> {
    let queue = Queue { vhost, name: text(live, "name"), live };
    let mut findings = Vec::new();
    findings.extend(queue.kept());
    findings.extend(queue.ordered());
    findings.extend(queue.returned(server));
    findings.extend(queue.dropped());
    findings
}

struct Queue<'l> {
    vhost: &'l str,
    name: &'l str,
    live: &'l Value,
}

impl Queue<'_> {
    fn argument(&self, name: &str) -> Option<&Value> {
        self.live.get("arguments").and_then(|all| all.get(format!("x-{name}")))
    }

    fn policied(&self, name: &str) -> Option<&Value> {
        self.live.get("effective_policy_definition").and_then(|all| all.get(name))
    }

    /// A setting: the queue's own argument, or its policy's.
    fn setting(&self, name: &str) -> Option<&Value> {
        self.argument(name).or(self.policied(name))
    }

    /// Whether a full queue refuses what is new. Here the policy is taken over the argument.
    fn rejects(&self) -> bool {
        let overflow = self.policied("overflow").or(self.argument("overflow"));
        overflow.and_then(Value::as_str).is_some_and(|it| it.starts_with("reject-publish"))
    }

    /// The smaller of argument and policy; a negative one is no limit, and gives way to the other.
    fn delivery_limit(&self) -> Option<i64> {
        let [own, policy] = [self.argument("delivery-limit"), self.policied("delivery-limit")]
            .map(|limit| limit.and_then(Value::as_i64));
        match (own, policy) {
            (Some(own), Some(policy)) if own < 0 || policy < 0 => Some(own.max(policy)),
            (Some(own), Some(policy)) => Some(own.min(policy)),
            (own, policy) => own.or(policy),
        }
    }

    /// Arguments are for ever: the queue must be made anew.
    fn made_anew(&self) -> String {
        let Queue { vhost, name, .. } = self;
        format!(
            "drain it, rabbitmqadmin -V {vhost} delete queue name={name}, then declare queue \
             name={name} durable=true arguments='{{\"x-queue-type\":\"quorum\",\
             \"x-single-active-consumer\":true}}', and bind it again"
        )
    }

    fn policy(&self, definition: &str) -> String {
        let Queue { vhost, name, .. } = self;
        let pattern = name.replace('.', "\\.");
        format!(
            "rabbitmqctl set_policy -p {vhost} --apply-to queues --priority 10 chancery-{name} \
             '^{pattern}$' '{definition}'"
        )
    }

    fn kept(&self) -> Option<Finding> {
        let Queue { name, .. } = self;
        let kind = text(self.live, "type");
        let (what, setting) = if self.live.get("durable") != Some(&Value::Bool(true)) {
            (format!("queue {name} is gone when the broker restarts"), "durable=false".to_owned())
        } else if kind != "quorum" {
            (format!("queue {name} is kept by one node alone"), format!("x-queue-type={kind}"))
        } else {
            return None;
        };
        Some(certain(Promise::NothingLost, what, &setting, self.made_anew()))
    }

    fn ordered(&self) -> Option<Finding> {
        let Queue { name, .. } = self;
        let single = self.setting("single-active-consumer") == Some(&Value::Bool(true));
        let (what, setting) = if !single {
            (format!("several receivers share queue {name}"), "x-single-active-consumer=false")
        } else if self.setting("max-priority").is_some() {
            (format!("messages of queue {name} overtake one another"), "x-max-priority")
        } else {
            return None;
        };
        Some(certain(Promise::Order, what, setting, self.made_anew()))
    }

    /// A lost connection returns what it had, and every return counts.
    fn returned(&self, server: &str) -> Option<Finding> {
        let version = server.rsplit(' ').next().and_then(|version| version.split('.').next());
        let version: u64 = version.and_then(|major| major.parse().ok()).unwrap_or(u64::MAX);
        let default = (version >= LIMITED_SINCE.0).then_some(LIMITED_SINCE.1);
        let limit = self.delivery_limit().map_or(default, |limit| u64::try_from(limit).ok());
        let limit = limit.filter(|_| text(self.live, "type") == "quorum")?;
        let strategy = self.setting("dead-letter-strategy").and_then(Value::as_str);
        let without = match self.setting("dead-letter-exchange") {
            None => "dead-letter-exchange",
            // Without overflow=reject-publish the server falls back to at-most-once.
            Some(_) if strategy != Some("at-least-once") || !self.rejects() => {
                "dead-letter-strategy=at-least-once and overflow=reject-publish"
            }
            Some(_) => return None,
        };
        Some(certain(
            Promise::NothingLost,
            format!(
                "a message of queue {} that came back {limit} times, with connections that were \
                 lost, can be dropped for good",
                self.name
            ),
            &format!("delivery-limit={limit} without {without}"),
            self.policy(
                "{\"dead-letter-exchange\":\"dead\",\"dead-letter-strategy\":\"at-least-once\",\
                 \"overflow\":\"reject-publish\",\"delivery-limit\":100}",
            ),
        ))
    }

    fn dropped(&self) -> Vec<Finding> {
        let Queue { name, .. } = self;
        let overflow = "max-length or max-length-bytes without overflow=reject-publish";
        let lengths = ["max-length", "max-length-bytes"];
        let full = !self.rejects() && lengths.iter().any(|length| self.setting(length).is_some());
        let full = full.then(|| {
            let what = format!("queue {name} drops its oldest messages when it is full");
            let fix = self.policy("{\"overflow\":\"reject-publish\"}");
            certain(Promise::NothingLost, what, overflow, fix)
        });
        let ends = ["message-ttl", "expires"].into_iter().filter_map(|setting| {
            let after = self.setting(setting)?;
            let what = format!("queue {name} drops messages that nobody has had time for");
            let fix = format!("take {setting} out of the policy or the arguments of {name}");
            Some(certain(Promise::NothingLost, what, &format!("{setting}={after}"), fix))
        });
        full.into_iter().chain(ends).collect()
    }
}

/// What nobody could look at.
pub(super) fn unread(vhost: &str, kind: &str, why: &str) -> Vec<Finding> {
    let list = match kind {
        "queues" => "list_queues name type durable arguments effective_policy_definition",
        _ => "list_exchanges name type durable",
    };
    let promises = [Promise::NothingLost, Promise::Order];
    let finding = |promise| Finding {
        promise,
        certain: false,
        what: why.to_owned(),
        setting: String::new(),
        fix: format!("name `management` for the broker; or look, rabbitmqctl -p {vhost} {list}"),
    };
    promises.map(finding).to_vec()
}

fn certain(promise: Promise, what: String, setting: &str, fix: String) -> Finding {
    Finding { promise, certain: true, what, setting: setting.to_owned(), fix }
}

fn text<'l>(live: &'l Value, member: &str) -> &'l str {
    live.get(member).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn quorum(arguments: Value, policy: Value) -> Value {
        let mut all = json!({"x-queue-type": "quorum", "x-single-active-consumer": true});
        for (name, value) in arguments.as_object().unwrap() {
            all[name] = value.clone();
        }
        json!({
            "name": "a.g",
            "type": "quorum",
            "durable": true,
            "arguments": all,
            "effective_policy_definition": policy,
        })
    }

    fn settings(live: &Value, server: &str) -> Vec<(Promise, String)> {
        let found = queue("shop", live, server).into_iter();
        found.map(|finding| (finding.promise, finding.setting)).collect()
    }

    const OLD: &str = "RabbitMQ 3.10.8";
    const NEW: &str = "RabbitMQ 4.0.5";

    #[test]
    fn a_queue_that_keeps_its_promises_is_let_through() {
        assert_eq!(settings(&quorum(json!({}), json!({})), OLD), []);
        let dead = json!({
            "dead-letter-exchange": "dead",
            "dead-letter-strategy": "at-least-once",
            "overflow": "reject-publish",
            "max-length": 9,
        });
        assert_eq!(settings(&quorum(json!({}), dead.clone()), NEW), []);
        let overruled = json!({"x-overflow": "drop-head"});
        assert_eq!(settings(&quorum(overruled, dead), NEW), []);
        let never = json!({"x-delivery-limit": -1});
        assert_eq!(settings(&quorum(never, json!({})), NEW), []);
    }

    // Threat: a setting that somebody forgot drops messages, or hands a key to two at once.
    #[test]
    fn what_loses_or_disorders_messages_is_found() {
        let limited = |limit: u64| {
            let setting = format!("delivery-limit={limit} without dead-letter-exchange");
            (Promise::NothingLost, setting)
        };
        for (arguments, policy, server, expected) in [
            (json!({}), json!({}), NEW, limited(20)),
            (json!({}), json!({}), "who knows", limited(20)),
            (json!({}), json!({"delivery-limit": 3}), OLD, limited(3)),
            (json!({"x-delivery-limit": 5}), json!({}), OLD, limited(5)),
            (
                json!({"x-single-active-consumer": false}),
                json!({}),
                OLD,
                (Promise::Order, "x-single-active-consumer=false".into()),
            ),
            (
                json!({"x-max-priority": 5}),
                json!({}),
                OLD,
                (Promise::Order, "x-max-priority".into()),
            ),
            (
                json!({"x-message-ttl": 60000}),
                json!({}),
                OLD,
                (Promise::NothingLost, "message-ttl=60000".into()),
            ),
            (json!({}), json!({"expires": 1}), OLD, (Promise::NothingLost, "expires=1".into())),
            (
                json!({}),
                json!({"max-length": 10}),
                OLD,
                (
                    Promise::NothingLost,
                    "max-length or max-length-bytes without overflow=reject-publish".into(),
                ),
            ),
        ] {
            assert_eq!(settings(&quorum(arguments, policy), server), [expected]);
        }
        let lossy = |limit: u64| {
            let without = "dead-letter-strategy=at-least-once and overflow=reject-publish";
            (Promise::NothingLost, format!("delivery-limit={limit} without {without}"))
        };
        let dead = json!({"dead-letter-exchange": "dead"});
        let least = json!({
            "dead-letter-exchange": "dead",
            "dead-letter-strategy": "at-least-once",
            "overflow": "drop-head",
        });
        for (arguments, policy, server, expected) in [
            (json!({}), dead.clone(), NEW, lossy(20)),
            (json!({"x-delivery-limit": 5}), dead, OLD, lossy(5)),
            (json!({"x-overflow": "reject-publish"}), least, NEW, lossy(20)),
            (json!({"x-delivery-limit": -1}), json!({"delivery-limit": 3}), NEW, limited(3)),
            (json!({"x-delivery-limit": 3}), json!({"delivery-limit": -1}), OLD, limited(3)),
            (json!({"x-delivery-limit": 9}), json!({"delivery-limit": 3}), NEW, limited(3)),
        ] {
            assert_eq!(settings(&quorum(arguments, policy), server), [expected]);
        }
        let mut classic = quorum(json!({}), json!({}));
        classic["type"] = json!("classic");
        assert_eq!(
            settings(&classic, NEW),
            [(Promise::NothingLost, "x-queue-type=classic".into())]
        );
        classic["durable"] = json!(false);
        assert_eq!(settings(&classic, NEW), [(Promise::NothingLost, "durable=false".into())]);
    }

    #[test]
    fn an_answer_that_says_nothing_is_no_good_answer() {
        assert!(queue("shop", &json!({}), NEW).len() >= 2);
        assert!(!exchange("shop", &json!({})).is_empty());
        assert!(unread("shop", "queues", "no").iter().all(|finding| !finding.certain));
    }
}
