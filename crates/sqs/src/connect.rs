// SPDX-License-Identifier: MIT OR Apache-2.0
//! The client library alone: who we are, how requests go out, and what its errors mean.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_sqs::Client as Sqs;
use aws_sdk_sqs::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{ConfigBag, Intercept, RuntimeComponents, SharedHttpClient};
use aws_sdk_sqs::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_smithy_async::time::TimeSource;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};

/// Longest time for one request; a long poll has its own wait on top.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(4);
/// Longest time for a request with its repetitions.
const OPERATION: Duration = Duration::from_secs(9);
const CONNECT: Duration = Duration::from_secs(3);
/// What the interceptor says; it is known again by it.
const PLAINTEXT: &str = "the endpoint is without TLS";

/// How to connect, and as whom.
pub(crate) struct Options {
    pub(crate) region: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) insecure: bool,
    /// PEM, checked before.
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) profile: Option<String>,
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) now: Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>,
}

/// The connection, and the identity behind it.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) sqs: Sqs,
    sts: aws_sdk_sts::Client,
    /// Where requests go, in words.
    pub(crate) server: String,
}

impl Client {
    pub(crate) async fn new(options: Options) -> Client {
        let http = http(options.ca);
        let timeouts = timeouts(ATTEMPT, OPERATION);
        // A wrong clock makes headers that nobody accepts: the library would sign around it, and
        // the first to be told would be the readers.
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::new(options.region.clone()))
            .http_client(http.clone())
            .timeout_config(timeouts.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .disable_clock_skew_correction(true);
        let mut files = EnvConfigFiles::builder();
        let named = [
            (EnvConfigFileKind::Credentials, options.credentials),
            (EnvConfigFileKind::Config, options.config),
        ];
        let mut ours = options.profile.is_some();
        for (kind, path) in named {
            let default = path.is_none();
            files = match kind {
                EnvConfigFileKind::Credentials => files.include_default_credentials_file(default),
                _ => files.include_default_config_file(default),
            };
            if let Some(path) = path {
                ours = true;
                files = files.with_file(kind, path);
            }
        }
        let files = files.build();
        // What is named here is meant: variables in the environment do not stand above it.
        if ours {
            let provider = ProviderConfig::without_region()
                .with_region(Some(Region::new(options.region.clone())))
                .with_http_client(http)
                .with_timeout_config(timeouts);
            let mut chain = ProfileFileCredentialsProvider::builder()
                .configure(&provider)
                .profile_files(files.clone());
            loader = loader.profile_files(files);
            if let Some(profile) = options.profile {
                chain = chain.profile_name(&profile);
                loader = loader.profile_name(profile);
            }
            loader = loader.credentials_provider(chain.build());
        }
        if let Some(now) = options.now {
            loader = loader.time_source(Now(now));
        }
        let server = match &options.endpoint {
            Some(endpoint) => format!("SQS at {endpoint}"),
            None => format!("SQS in {}", options.region),
        };
        if let Some(endpoint) = options.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let aws = loader.load().await;
        let mut sqs = aws_sdk_sqs::config::Builder::from(&aws);
        if !options.insecure {
            sqs = sqs.interceptor(OnlyTls);
        }
        let mut sts = aws_sdk_sts::config::Builder::from(&aws);
        if !options.insecure {
            sts = sts.interceptor(OnlyTls);
        }
        let sts = aws_sdk_sts::Client::from_conf(sts.build());
        Client { sqs: Sqs::from_conf(sqs.build()), sts, server }
    }

    /// A request that waits for the server this long, and is not repeated by the library.
    pub(crate) fn patient(&self, wait: Duration) -> aws_sdk_sqs::config::Builder {
        let attempt = ATTEMPT + wait;
        aws_sdk_sqs::config::Builder::new()
            .timeout_config(timeouts(attempt, attempt))
            .retry_config(RetryConfig::disabled())
    }

    /// A queue's URL by its name.
    pub(crate) async fn url(&self, name: &str) -> Result<String, Trouble> {
        let found = self.sqs.get_queue_url().queue_name(name).send().await?;
        found.queue_url.ok_or_else(|| Trouble::new(What::Server, "it gave no URL"))
    }

    /// All that may be seen of a queue.
    pub(crate) async fn attributes(&self, url: &str) -> Result<Vec<(String, String)>, Trouble> {
        let all = aws_sdk_sqs::types::QueueAttributeName::All;
        let request = self.sqs.get_queue_attributes().queue_url(url).attribute_names(all);
        let found = request.send().await?.attributes.unwrap_or_default();
        Ok(found.into_iter().map(|(name, value)| (name.as_str().to_owned(), value)).collect())
    }

    /// How the server knows us. Needs no right, but a server that answers for STS.
    pub(crate) async fn identity(&self) -> Option<String> {
        self.sts.get_caller_identity().send().await.ok()?.arn
    }
}

fn timeouts(attempt: Duration, operation: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .read_timeout(attempt)
        .operation_attempt_timeout(attempt)
        .operation_timeout(operation)
        .build()
}

/// One TLS stack, and its cryptography named: two in one process do not know which to take.
fn http(ca: Option<Vec<u8>>) -> SharedHttpClient {
    let trust = match ca {
        Some(pem) => TrustStore::empty().with_pem_certificate(pem),
        None => TrustStore::default(),
    };
    let client = aws_smithy_http_client::Builder::new();
    let client = client.tls_provider(Provider::Rustls(CryptoMode::Ring));
    match TlsContext::builder().with_trust_store(trust).build() {
        Ok(context) => client.tls_context(context).build_https(),
        // Only server names can make a context fail, and there are none; it would trust nobody.
        Err(_) => client.build_https(),
    }
}

/// Refuses to send what is not encrypted, whichever file or variable said so.
#[derive(Debug)]
struct OnlyTls;

impl Intercept for OnlyTls {
    fn name(&self) -> &'static str {
        "OnlyTls"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let encrypted = context.request().uri().starts_with("https://");
        if encrypted { Ok(()) } else { Err(PLAINTEXT.into()) }
    }
}

struct Now(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Now")
    }
}

impl TimeSource for Now {
    fn now(&self) -> SystemTime {
        (self.0)()
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) what: What,
    /// The server's or the library's own words.
    pub(crate) said: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// No credentials were found, or they could not be read.
    NoCredentials,
    /// The access key is not known.
    Key,
    /// The secret is not the access key's.
    Secret,
    /// The session token is over, or another's.
    Token,
    /// Our clock, or the server's, is wrong.
    Clock,
    /// We may not.
    Denied,
    /// There is no such queue.
    NoQueue,
    /// The server's certificate proves nothing.
    Certificate,
    /// It would be without TLS.
    Plaintext,
    /// Nobody is there, or the connection broke.
    Unreachable,
    /// Nothing was heard in time.
    Silent,
    /// Too much is asked of it.
    Throttled,
    /// The delivery is settled, or has become another's.
    Receipt,
    /// A message is larger than the queue takes.
    TooLarge,
    /// Something of its own.
    Server,
}

impl Trouble {
    pub(crate) fn new(what: What, said: impl Into<String>) -> Trouble {
        Trouble { what, said: said.into() }
    }

    /// What a server's error code means.
    pub(crate) fn of_code(code: &str, said: &str) -> Trouble {
        // Old and new protocols name the same things differently.
        let code = code.rsplit(['.', '#']).next().unwrap_or(code);
        let what = match code {
            "SignatureDoesNotMatch" | "InvalidSignatureException" | "RequestTimeTooSkewed" => {
                let time = said.contains("expired") || said.contains("not yet current");
                if time || code == "RequestTimeTooSkewed" { What::Clock } else { What::Secret }
            }
            "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId" => {
                What::Key
            }
            "ExpiredToken" | "ExpiredTokenException" | "InvalidToken" => What::Token,
            "AccessDenied" | "AccessDeniedException" | "AuthorizationError" | "KmsAccessDenied" => {
                What::Denied
            }
            "QueueDoesNotExist" | "NonExistentQueue" => What::NoQueue,
            "ReceiptHandleIsInvalid" => What::Receipt,
            "BatchRequestTooLong" | "MessageTooLong" => What::TooLarge,
            _ if said.contains("MessageTooLong") || said.contains("must be shorter than") => {
                What::TooLarge
            }
            "RequestThrottled"
            | "Throttling"
            | "ThrottlingException"
            | "OverLimit"
            | "KmsThrottled" => What::Throttled,
            _ => return Trouble::new(What::Server, format!("{code}: {said}")),
        };
        Trouble::new(what, said)
    }

    /// What an error of the library means, by the words of all its causes.
    fn of_causes(error: &(dyn std::error::Error + 'static), silent: bool) -> Trouble {
        let mut words = Vec::new();
        let mut cause = Some(error);
        while let Some(error) = cause {
            words.push(error.to_string());
            cause = error.source();
        }
        let said = words.last().cloned().unwrap_or_default();
        let any = |needles: &[&str]| {
            words.iter().any(|word| needles.iter().any(|needle| word.contains(needle)))
        };
        let what = if any(&[PLAINTEXT]) {
            What::Plaintext
        } else if any(&["certificate", "UnknownIssuer", "InvalidCertificate"]) {
            What::Certificate
        } else if any(&["credential", "profile", "no providers in chain"]) {
            What::NoCredentials
        } else if silent {
            What::Silent
        } else {
            What::Unreachable
        };
        Trouble::new(what, said)
    }
}

impl<E, R> From<SdkError<E, R>> for Trouble
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: fmt::Debug + 'static,
{
    fn from(error: SdkError<E, R>) -> Trouble {
        match &error {
            SdkError::ServiceError(answer) => {
                let answer = answer.err();
                let said = answer.message().unwrap_or_default();
                Trouble::of_code(answer.code().unwrap_or("an error without a code"), said)
            }
            SdkError::TimeoutError(_) => Trouble::new(What::Silent, "nothing was heard in time"),
            SdkError::DispatchFailure(failure) => Trouble::of_causes(&error, failure.is_timeout()),
            SdkError::ResponseError(_) => Trouble::new(What::Server, "its answer is not SQS's"),
            _ => Trouble::of_causes(&error, false),
        }
    }
}

#[cfg(test)]
mod tests;
