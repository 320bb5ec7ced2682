//! Endpoints that callers of the API make, change and delete: kept in the store, and in force at
//! once.
//!
//! Decides what is kept, and who may change what: the file's endpoints are the file's. What may
//! stand in an endpoint is [`crate::config`]'s question, whose task rings it [`super::enlist`]'s.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tracing::{error, info, warn};

use super::board::Board;
use super::{Deliverer, SteerError, Switches, heard};
use crate::client::{literal_within, random};
use crate::config::{
    Author, Beside, Config, Endpoint, MemberFault, NO_NETWORK, Owner, Retiring, SECRETS_MAX,
};
use crate::name::Name;
use crate::secret::Secret;
use crate::signature::{SigningKey, symmetric_secret};
use crate::store::{SourceId, Store, StoreError, StoredEndpoint, StoredSecret};

/// Most endpoints that callers make: each has a task, series, and lanes.
pub const STORED_MAX: usize = 1_000;

/// How long a secret that was replaced may sign on.
pub const OVERLAP_MAX: Duration = Duration::from_hours(7 * 24);
/// How long it does when nobody says.
pub const OVERLAP: Duration = Duration::from_hours(24);

/// Largest definition: more than all its members need, and a thousand of them fit in memory.
const DEFINITION_BYTES_MAX: usize = 64 * 1024;

/// Why an endpoint is not made, changed or deleted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    /// As with whatever people ask of an endpoint.
    #[error(transparent)]
    Steer(#[from] SteerError),
    /// It stands in the file.
    #[error("endpoint `{0}` is read-only here: it stands in the configuration file")]
    OfFile(Name),
    /// There is one of this name.
    #[error("an endpoint named `{0}` is there already")]
    Taken(Name),
    /// There are too many.
    #[error("{STORED_MAX} endpoints were made already, as many as there may be: delete one first")]
    Full,
    /// Too many secrets sign.
    #[error(
        "{SECRETS_MAX} secrets sign already: wait until one of them has retired, or rotate with \
         `overlap` \"0s\", which retires all old ones at once"
    )]
    TooManySecrets,
    /// It cannot be so.
    #[error("the endpoint is not right")]
    Faults(Vec<MemberFault>),
}

impl From<StoreError> for ChangeError {
    fn from(error: StoreError) -> Self {
        Self::Steer(error.into())
    }
}

/// What was made of a request.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The endpoint.
    pub name: Name,
    /// A secret that doorbell made. Nobody is told it a second time.
    pub secret: Option<Secret>,
    /// What is legal but odd.
    pub odd: Vec<MemberFault>,
}

/// Puts what is kept in `store` into force beside the endpoints of the file, which win.
///
/// # Errors
/// [`StoreError`].
pub async fn adopt(config: &mut Config, store: &Store) -> Result<(), StoreError> {
    let kept = store.endpoints().await?;
    if !kept.is_empty() && !store.is_private() {
        warn!("the store holds secrets of endpoints, and others may read its file: chmod 600");
    }
    let beside = Beside::new(config);
    let mut adopted = Vec::new();
    for stored in &kept {
        let endpoint = &stored.name;
        if config.endpoints.contains_key(endpoint) {
            warn!(
                %endpoint,
                "the configuration file has the name of an endpoint made over the API, which is \
                 not rung as long as it does"
            );
            continue;
        }
        match in_force(&beside, stored) {
            Ok((read, odd)) => {
                for MemberFault { pointer, detail } in odd {
                    warn!(%endpoint, pointer, "{detail}");
                }
                adopted.push(read);
            }
            Err(faults) => {
                for MemberFault { pointer, detail } in faults {
                    error!(%endpoint, pointer, "{detail}: the endpoint is not rung");
                }
            }
        }
    }
    let named = adopted.into_iter().map(|e| (e.name.clone(), Arc::new(e)));
    config.endpoints.extend(named);
    Ok(())
}

/// What is kept, as it is in force.
fn in_force(
    beside: &Beside<'_>,
    stored: &StoredEndpoint,
) -> Result<(Endpoint, Vec<MemberFault>), Vec<MemberFault>> {
    let mut members = definition(stored);
    members.insert("secrets".to_owned(), written(&stored.secrets));
    let (mut endpoint, odd) = beside.endpoint(&stored.name, &members, Author::Store)?;
    endpoint.retiring = retiring(&stored.secrets);
    Ok((endpoint, odd))
}

impl Deliverer {
    /// Makes an endpoint of what a caller wrote: it is rung from now on, about what happens from now
    /// on. Without `secrets` among its members it gets one.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing is made then.
    pub async fn create(
        &self,
        name: Name,
        members: Map<String, Value>,
    ) -> Result<Changed, ChangeError> {
        let deliverer = self.clone();
        self.whole(async move { deliverer.create_whole(name, members).await })
            .await
    }

    async fn create_whole(
        &self,
        name: Name,
        mut members: Map<String, Value>,
    ) -> Result<Changed, ChangeError> {
        let _shelf = self.shelf.lock().await;
        let kept = self.parts.store.endpoints().await?;
        if self.is_of_file(&name) {
            return Err(ChangeError::OfFile(name));
        }
        if kept.iter().any(|stored| stored.name == name) {
            return Err(ChangeError::Taken(name));
        }
        if kept.len() >= STORED_MAX {
            return Err(ChangeError::Full);
        }
        let secret = (!members.contains_key("secrets")).then(|| symmetric_secret(&random()));
        if let Some(secret) = &secret {
            members.insert("secrets".to_owned(), Value::from(vec![secret.expose()]));
        }
        let (endpoint, odd) = self.read(&name, &members)?;
        let now = self.parts.clock.now();
        let secrets = secrets(&mut members);
        let stored = StoredEndpoint {
            name: name.clone(),
            definition: text(&members)?,
            secrets,
            created_at: now,
            changed_at: now,
        };
        let seated = self.free_seat(&name).await?;
        let store = &self.parts.store;
        // What a deleted endpoint of this name was sent, and what waited for it, is not this one's.
        store.begin_anew(&name).await?;
        store.lanes(&name, &self.heard_by(&endpoint)).await?;
        store.keep_endpoint(stored).await?;
        let endpoint = Arc::new(endpoint);
        self.put_into_force(&endpoint);
        let board = Board::new((true, false), endpoint.concurrency);
        self.engage(&endpoint, board, seated);
        let origin = endpoint.url.origin().ascii_serialization();
        info!(endpoint = %name, url = origin, "endpoint is made over the API");
        Ok(Changed { name, secret, odd })
    }

    /// Changes members of an endpoint that was made so, as RFC 7396 merges them: null takes one
    /// away. What it was still to be sent, it is sent.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing is changed then.
    pub async fn change(
        &self,
        name: &str,
        patch: Map<String, Value>,
    ) -> Result<Changed, ChangeError> {
        let (deliverer, name) = (self.clone(), name.to_owned());
        self.whole(async move { deliverer.change_whole(&name, patch).await })
            .await
    }

    async fn change_whole(
        &self,
        name: &str,
        patch: Map<String, Value>,
    ) -> Result<Changed, ChangeError> {
        let _shelf = self.shelf.lock().await;
        let mut stored = self.kept(name).await?;
        if patch.get("secrets").is_some_and(Value::is_null) {
            let detail = "every webhook is signed: write other secrets, or rotate the secret";
            let fault = MemberFault::new("/secrets", detail);
            return Err(ChangeError::Faults(vec![fault]));
        }
        let has_secrets = patch.contains_key("secrets");
        let mut members = definition(&stored);
        members.insert("secrets".to_owned(), written(&stored.secrets));
        merge(&mut members, patch);
        let (mut endpoint, odd) = self.read(&stored.name, &members)?;
        let given = secrets(&mut members);
        if has_secrets {
            stored.secrets.retain(|secret| secret.until.is_some());
            stored.secrets.splice(..0, given);
        }
        if stored.secrets.len() > SECRETS_MAX {
            return Err(ChangeError::TooManySecrets);
        }
        endpoint.retiring = retiring(&stored.secrets);
        stored.definition = text(&members)?;
        stored.changed_at = self.parts.clock.now();
        let store = &self.parts.store;
        // So that what begins to be heard is heard from now on.
        store.lanes(&stored.name, &self.heard_by(&endpoint)).await?;
        let name = stored.name.clone();
        store.keep_endpoint(stored).await?;
        let endpoint = Arc::new(endpoint);
        let before = self.put_into_force(&endpoint);
        self.follow_change(before.as_deref(), &endpoint).await?;
        info!(endpoint = %name, "endpoint is changed over the API");
        let secret = None;
        Ok(Changed { name, secret, odd })
    }

    /// Makes the task of an endpoint follow what is in force now.
    async fn follow_change(
        &self,
        before: Option<&Endpoint>,
        endpoint: &Arc<Endpoint>,
    ) -> Result<(), ChangeError> {
        let Some(before) = before else {
            // What was kept could not be rung until now.
            let seated = self.free_seat(&endpoint.name).await?;
            let switches = Switches::read(&self.parts.store).await?;
            self.engage(endpoint, switches.board(endpoint), seated);
            return Ok(());
        };
        let hears = |endpoint: &Endpoint| heard(endpoint, &self.sources);
        if before.order != endpoint.order || hears(before) != hears(endpoint) {
            self.succeed(endpoint);
        } else if let Ok(shown) = self.shown(endpoint.name.as_str()) {
            shown.follow();
        }
        Ok(())
    }

    /// Deletes an endpoint that was made so: an attempt in flight may end, none begins any more.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing is changed then.
    pub async fn delete(&self, name: &str) -> Result<(), ChangeError> {
        let (deliverer, name) = (self.clone(), name.to_owned());
        self.whole(async move {
            let _shelf = deliverer.shelf.lock().await;
            let stored = deliverer.kept(&name).await?;
            deliverer.parts.store.delete_endpoint(&stored.name).await?;
            deliverer.parts.live.rcu(|config| {
                let mut next = Config::clone(config);
                next.endpoints.remove(&stored.name);
                next
            });
            deliverer.release(&stored.name);
            info!(endpoint = name, "endpoint is deleted over the API");
            Ok(())
        })
        .await
    }

    /// Gives an endpoint that was made so a new secret: `given`, or one that doorbell makes. Those
    /// before it sign on for `overlap`, or as long as they would have.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing is changed then.
    pub async fn rotate_secret(
        &self,
        name: &str,
        given: Option<Secret>,
        overlap: Duration,
    ) -> Result<Changed, ChangeError> {
        let (deliverer, name) = (self.clone(), name.to_owned());
        self.whole(async move { deliverer.rotate_whole(&name, given, overlap).await })
            .await
    }

    async fn rotate_whole(
        &self,
        name: &str,
        given: Option<Secret>,
        overlap: Duration,
    ) -> Result<Changed, ChangeError> {
        let _shelf = self.shelf.lock().await;
        let mut stored = self.kept(name).await?;
        let made = given.is_none().then(|| symmetric_secret(&random()));
        let Some(secret) = given.or_else(|| made.clone()) else {
            return Err(SteerError::Busy.into());
        };
        if let Err(error) = SigningKey::parse(&secret) {
            let fault = MemberFault::new("/secret", error.to_string());
            return Err(ChangeError::Faults(vec![fault]));
        }
        let now = self.parts.clock.now();
        let latest = now.plus(overlap.min(OVERLAP_MAX));
        for old in &mut stored.secrets {
            old.until = Some(old.until.map_or(latest, |until| until.min(latest)));
        }
        stored.secrets.retain(|old| old.until > Some(now));
        let newest = StoredSecret {
            secret,
            until: None,
        };
        stored.secrets.insert(0, newest);
        if stored.secrets.len() > SECRETS_MAX {
            return Err(ChangeError::TooManySecrets);
        }
        stored.changed_at = now;
        let config = self.parts.live.load_full();
        let read = in_force(&Beside::new(&config), &stored);
        let (endpoint, _) = read.map_err(ChangeError::Faults)?;
        let name = stored.name.clone();
        self.parts.store.keep_endpoint(stored).await?;
        let endpoint = Arc::new(endpoint);
        let before = self.put_into_force(&endpoint);
        self.follow_change(before.as_deref(), &endpoint).await?;
        info!(endpoint = %name, "the endpoint's secret is rotated");
        Ok(Changed {
            name,
            secret: made,
            odd: Vec::new(),
        })
    }

    /// Does all of something, also when nobody waits for it any more: half of it would be in force.
    async fn whole<T: Send + 'static>(
        &self,
        act: impl Future<Output = Result<T, ChangeError>> + Send + 'static,
    ) -> Result<T, ChangeError> {
        if self.parts.shutdown.is_draining() {
            return Err(SteerError::Draining.into());
        }
        let acting = self.tasks.spawn(act).await;
        acting.unwrap_or_else(|_| Err(SteerError::Draining.into()))
    }

    /// What is kept of an endpoint that was made over the API.
    async fn kept(&self, name: &str) -> Result<StoredEndpoint, ChangeError> {
        let file = self.parts.live.load();
        let file = file.endpoints.get(name).filter(|e| e.owner == Owner::File);
        if let Some(endpoint) = file {
            return Err(ChangeError::OfFile(endpoint.name.clone()));
        }
        let kept = self.parts.store.endpoints().await?;
        let stored = kept.into_iter().find(|stored| stored.name.as_str() == name);
        stored.ok_or_else(|| SteerError::Unknown(name.to_owned()).into())
    }

    fn is_of_file(&self, name: &Name) -> bool {
        let config = self.parts.live.load();
        let endpoint = config.endpoints.get(name);
        endpoint.is_some_and(|endpoint| endpoint.owner == Owner::File)
    }

    fn read(
        &self,
        name: &Name,
        members: &Map<String, Value>,
    ) -> Result<(Endpoint, Vec<MemberFault>), ChangeError> {
        let config = self.parts.live.load_full();
        let read = Beside::new(&config).endpoint(name, members, Author::Caller);
        let (endpoint, odd) = read.map_err(ChangeError::Faults)?;
        // The guard knows more addresses by heart than the reader.
        if literal_within(&endpoint.url, &endpoint.allow_networks).is_err() {
            let fault = MemberFault::new("/url", NO_NETWORK);
            return Err(ChangeError::Faults(vec![fault]));
        }
        Ok((endpoint, odd))
    }

    fn heard_by(&self, endpoint: &Endpoint) -> Vec<SourceId> {
        let heard = heard(endpoint, &self.sources).into_iter();
        heard.map(|(source, _)| source).collect()
    }

    /// The endpoint of this name that was in force before, if one was.
    fn put_into_force(&self, endpoint: &Arc<Endpoint>) -> Option<Arc<Endpoint>> {
        let before = self.parts.live.rcu(|config| {
            let mut next = Config::clone(config);
            let name = endpoint.name.clone();
            next.endpoints.insert(name, Arc::clone(endpoint));
            next
        });
        before.endpoints.get(&endpoint.name).cloned()
    }
}

/// What a caller wrote, as it was kept.
fn definition(stored: &StoredEndpoint) -> Map<String, Value> {
    // A text that is damaged has no `url`, which is told.
    serde_json::from_str(stored.definition.expose()).unwrap_or_default()
}

fn text(members: &Map<String, Value>) -> Result<Secret, ChangeError> {
    let text = serde_json::to_string(members).unwrap_or_default();
    if text.len() > DEFINITION_BYTES_MAX {
        let detail = format!("an endpoint has at most {DEFINITION_BYTES_MAX} bytes");
        return Err(ChangeError::Faults(vec![MemberFault::new("", detail)]));
    }
    Ok(Secret::new(text))
}

/// The secrets that are not being replaced, as a caller would write them.
fn written(secrets: &[StoredSecret]) -> Value {
    let lasting = secrets.iter().filter(|secret| secret.until.is_none());
    lasting.map(|secret| secret.secret.expose()).collect()
}

/// Takes the secrets out of what was read without a fault.
fn secrets(members: &mut Map<String, Value>) -> Vec<StoredSecret> {
    let written = members.remove("secrets").unwrap_or_default();
    let texts = written.as_array().into_iter().flatten();
    let texts = texts.filter_map(Value::as_str);
    let secret = |text: &str| StoredSecret {
        secret: Secret::new(text.to_owned()),
        until: None,
    };
    texts.map(secret).collect()
}

fn retiring(secrets: &[StoredSecret]) -> Vec<Retiring> {
    let retiring = secrets.iter().filter_map(|secret| {
        Some(Retiring {
            key: SigningKey::parse(&secret.secret).ok()?,
            until: secret.until?,
        })
    });
    retiring.collect()
}

/// Merges `patch` into `members` (RFC 7396).
fn merge(members: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, value) in patch {
        match (members.get_mut(&key), value) {
            (_, Value::Null) => {
                members.remove(&key);
            }
            (Some(Value::Object(inner)), Value::Object(patch)) => merge(inner, patch),
            (_, Value::Object(patch)) => {
                let mut inner = Map::new();
                merge(&mut inner, patch);
                members.insert(key, Value::Object(inner));
            }
            (_, value) => {
                members.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Source: RFC 7396 appendix A, as far as both sides are objects.
    #[test]
    fn members_are_merged_as_the_standard_does() {
        for (before, patch, after) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b"}),
                json!({"b": "c"}),
                json!({"a": "b", "b": "c"}),
            ),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (
                json!({"a": "b", "b": "c"}),
                json!({"a": null}),
                json!({"b": "c"}),
            ),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (
                json!({"a": [{"b": "c"}]}),
                json!({"a": [1]}),
                json!({"a": [1]}),
            ),
            (json!({"e": 1}), json!({"a": 1}), json!({"e": 1, "a": 1})),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ] {
            let mut members = before.as_object().expect("an object").clone();
            merge(&mut members, patch.as_object().expect("an object").clone());
            assert_eq!(Value::Object(members), after, "{before} with {patch}");
        }
    }
}
