//! Plain clients of etcd and S3: what the same bytes cost without Hansa.
//!
//! The messages are etcd's own, of its `rpc.proto`, as far as a floor needs them.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hansa_controlplane::S3;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use prost::Message;
use std::future::Future;
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

/// How many calls at once are tried.
const CONCURRENCIES: [usize; 6] = [1, 8, 16, 32, 64, 128];

/// The concurrency at which all of these are read quickest, with the median of `rounds`.
pub async fn quickest<K, F>(keys: &[K], rounds: usize, read: impl Fn(K) -> F) -> Result<(Duration, usize)>
where
    K: Clone,
    F: Future<Output = Result<usize>>,
{
    let mut best = (Duration::MAX, 0);
    for concurrency in CONCURRENCIES {
        let mut took = Vec::new();
        for _ in 0..rounds {
            let start = Instant::now();
            let sizes = stream::iter(keys.iter().cloned()).map(&read).buffer_unordered(concurrency);
            sizes.try_for_each(|_| async { Ok(()) }).await?;
            took.push(start.elapsed());
        }
        took.sort();
        best = best.min((took[took.len() / 2], concurrency));
    }
    Ok(best)
}

/// A client of an S3 server.
pub struct PlainS3(object_store::aws::AmazonS3);

impl PlainS3 {
    /// Of the server that a bench started.
    pub fn new(server: &S3) -> Result<Self> {
        let builder = AmazonS3Builder::new()
            .with_endpoint(&server.endpoint)
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_bucket_name(S3::BUCKET)
            .with_access_key_id(S3::USER)
            .with_secret_access_key(S3::SECRET);
        Ok(PlainS3(builder.build()?))
    }

    /// The names of all objects.
    pub async fn names(&self) -> Result<Vec<Path>> {
        Ok(self.0.list(None).map_ok(|object| object.location).try_collect().await?)
    }

    /// Reads one, and says how large it is.
    pub async fn size(&self, name: Path) -> Result<usize> {
        Ok(self.0.get(&name).await?.bytes().await?.len())
    }
}

/// A client of etcd.
#[derive(Clone)]
pub struct PlainEtcd(Channel);

impl PlainEtcd {
    /// At `host:port`.
    pub async fn connect(address: &str) -> Result<Self> {
        Ok(PlainEtcd(Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect().await?))
    }

    async fn call<Q: Message + 'static, A: Message + Default + 'static>(
        &self,
        path: &'static str,
        question: Q,
    ) -> Result<A> {
        let mut grpc = tonic::client::Grpc::new(self.0.clone()).max_decoding_message_size(256 << 20);
        grpc.ready().await?;
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        Ok(grpc.unary(tonic::Request::new(question), path, codec).await?.into_inner())
    }

    /// Everything from `first` to before `end`, or `first` alone.
    pub async fn range(&self, first: &[u8], end: &[u8]) -> Result<Vec<KeyValue>> {
        let question = Range { key: first.to_vec().into(), end: end.to_vec().into() };
        Ok(self.call::<_, RangeAnswer>("/etcdserverpb.KV/Range", question).await?.kvs)
    }

    /// Writes `value` if the key was last written at `revision` (0: never); returns the revision of this write.
    pub async fn swap(&self, key: &str, revision: i64, value: Bytes) -> Result<i64> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let compare = Compare { target: MOD, key: key.clone(), revision: Some(revision) };
        let success = Write { put: Some(Put { key, value }) };
        let question = Txn { compare: vec![compare], success: vec![success] };
        let answer: TxnAnswer = self.call("/etcdserverpb.KV/Txn", question).await?;
        ensure!(answer.succeeded, "somebody else writes what is measured");
        Ok(answer.header.context("an answer has a header")?.revision)
    }
}

#[derive(Clone, PartialEq, Message)]
struct Range {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    end: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct RangeAnswer {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

/// A key with its value.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// The key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The value.
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
}

/// What a comparison is of: the revision of the last modification.
const MOD: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct Compare {
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    key: Bytes,
    #[prost(int64, optional, tag = "6")]
    revision: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Put {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Write {
    #[prost(message, optional, tag = "2")]
    put: Option<Put>,
}

#[derive(Clone, PartialEq, Message)]
struct Txn {
    #[prost(message, repeated, tag = "1")]
    compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<Write>,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, Message)]
struct TxnAnswer {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(bool, tag = "2")]
    succeeded: bool,
}
