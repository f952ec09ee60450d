//! `s3://`, `gs://` and `az://` URLs.

use super::parse::{DEFAULT_TIMEOUT, Options, Wrong, decoded, duration, is_secret, wrong};
use super::{Cloud, ObjectsUrl, TopoUrl};

/// Of the 1,024 bytes that an object's name may have, keys take up to [`crate::key::MAX_NAME_BYTES`].
const MAX_PREFIX_BYTES: usize = 200;

pub(super) fn parse(cloud: Cloud, body: &str, mut options: Options) -> Result<TopoUrl, Wrong> {
    let scheme = cloud.scheme();
    let container = if cloud == Cloud::Az { "CONTAINER" } else { "BUCKET" };
    let form = format!("write {scheme}://{container}/PREFIX");
    let Some(rest) = body.strip_prefix("//") else {
        return wrong(format!("// is missing after {scheme}:"), form);
    };
    if rest.contains('@') {
        return wrong("there is an @ in it", format!("{form}; {CREDENTIALS}"));
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let bucket = decoded(bucket)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if bucket.is_empty() || bucket.len() > 222 || !bucket.chars().all(plain) {
        let noun = container.to_ascii_lowercase();
        return wrong(format!("{bucket:?} is no name of a {noun}"), form);
    }
    let prefix = prefix_of(prefix)?;
    if let Some(name) = options.names().find(|name| is_secret(name)) {
        return wrong(format!("the option {name:?} would show a credential to everyone who sees the URL"), CREDENTIALS);
    }
    let endpoint = options.take("endpoint").map(endpoint).transpose()?;
    let ca = options.file("ca")?;
    let timeout = options.take("timeout").map_or(Ok(DEFAULT_TIMEOUT), |text| duration(&text))?;
    let changes_kept = options.changes_kept()?;
    let anonymous = match options.take("anonymous").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return wrong(format!("anonymous={other} is neither true nor false"), "write anonymous=true"),
    };
    let (mut region, mut virtual_hosted, mut account) = (None, false, None);
    let mut known = "endpoint, ca, timeout, changes-kept, anonymous".to_owned();
    match cloud {
        Cloud::S3 => {
            known.push_str(", region, style");
            region = word(&mut options, "region")?;
            virtual_hosted = match options.take("style").as_deref() {
                None | Some("path") => false,
                Some("virtual") => true,
                Some(other) => {
                    return wrong(format!("style={other} is not known"), "write style=virtual or style=path");
                }
            };
        }
        Cloud::Gs => {}
        Cloud::Az => {
            known.push_str(", account");
            account = word(&mut options, "account")?;
        }
    }
    options.end(scheme, &known)?;
    Ok(TopoUrl::Objects(ObjectsUrl {
        cloud,
        bucket,
        prefix,
        endpoint,
        region,
        virtual_hosted,
        account,
        anonymous,
        ca,
        timeout,
        changes_kept,
    }))
}

const CREDENTIALS: &str = "credentials come from the environment (AWS_…, GOOGLE_…, AZURE_…, HANSA_TOPO_…)";

fn prefix_of(text: &str) -> Result<String, Wrong> {
    let prefix = decoded(text)?;
    let prefix = prefix.trim_end_matches('/');
    if prefix.is_empty() {
        return wrong(
            "the prefix is missing, below which the league keeps its keys",
            "add one behind the bucket, like /hansa",
        );
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let usable = |segment: &str| !matches!(segment, "" | "." | "..") && segment.chars().all(plain);
    if prefix.len() > MAX_PREFIX_BYTES || !prefix.split('/').all(usable) {
        return wrong(
            format!("the prefix {prefix:?} is not usable"),
            format!("use up to {MAX_PREFIX_BYTES} letters, digits, '.', '_', '-' and '/', like /hansa or /prod/hansa"),
        );
    }
    Ok(prefix.to_owned())
}

fn endpoint(text: String) -> Result<String, Wrong> {
    let mend = "write endpoint=https://HOST:PORT, or endpoint=http://HOST:PORT for a plain connection";
    if text.contains('@') {
        return wrong("there is an @ in endpoint=", format!("{mend}; {CREDENTIALS}"));
    }
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = host.map(|rest| rest.split('/').next().unwrap_or(rest));
    match host {
        Some(host) if !host.is_empty() && !text.contains(|c: char| c.is_control() || " ?#".contains(c)) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => wrong(format!("endpoint={text} is no address of a server"), mend),
    }
}

fn word(options: &mut Options, name: &str) -> Result<Option<String>, Wrong> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    match options.take(name) {
        Some(text) if text.is_empty() || !text.chars().all(plain) => {
            wrong(format!("{name}={text} is no name"), format!("write {name}=NAME, in letters, digits and hyphens"))
        }
        word => Ok(word),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use expect_test::expect;

    #[test]
    fn good_urls() {
        check(
            "s3://league/hansa",
            expect![[r#"
            s3://league/hansa
            Objects(ObjectsUrl { cloud: S3, bucket: "league", prefix: "hansa", endpoint: None, region: None, virtual_hosted: false, account: None, anonymous: false, ca: None, timeout: 5s, changes_kept: None })
        "#]],
        );
        check(
            "s3://league/prod/hansa/?endpoint=http://127.0.0.1:9000/&region=eu-west-1&timeout=2s&changes-kept=7",
            expect![[r#"
                s3://league/prod/hansa
                Objects(ObjectsUrl { cloud: S3, bucket: "league", prefix: "prod/hansa", endpoint: Some("http://127.0.0.1:9000"), region: Some("eu-west-1"), virtual_hosted: false, account: None, anonymous: false, ca: None, timeout: 2s, changes_kept: Some(7) })
            "#]],
        );
        check(
            "s3://league/hansa?style=virtual&ca=/ca.pem",
            expect![[r#"
            s3://league/hansa
            Objects(ObjectsUrl { cloud: S3, bucket: "league", prefix: "hansa", endpoint: None, region: None, virtual_hosted: true, account: None, anonymous: false, ca: Some("/ca.pem"), timeout: 5s, changes_kept: None })
        "#]],
        );
        check(
            "gs://league/hansa?anonymous=true",
            expect![[r#"
            gs://league/hansa
            Objects(ObjectsUrl { cloud: Gs, bucket: "league", prefix: "hansa", endpoint: None, region: None, virtual_hosted: false, account: None, anonymous: true, ca: None, timeout: 5s, changes_kept: None })
        "#]],
        );
        check(
            "az://league/hansa?account=hansa7",
            expect![[r#"
            az://league/hansa
            Objects(ObjectsUrl { cloud: Az, bucket: "league", prefix: "hansa", endpoint: None, region: None, virtual_hosted: false, account: Some("hansa7"), anonymous: false, ca: None, timeout: 5s, changes_kept: None })
        "#]],
        );
    }

    #[test]
    fn wrong_urls() {
        check(
            "s3:league/hansa",
            expect![[r#"
            URL "s3:league/hansa": // is missing after s3:; write s3://BUCKET/PREFIX
        "#]],
        );
        check(
            "gs://league",
            expect![[r#"
            URL "gs://league": the prefix is missing, below which the league keeps its keys; add one behind the bucket, like /hansa
        "#]],
        );
        check(
            "s3:///hansa",
            expect![[r#"
            URL "s3:///hansa": "" is no name of a bucket; write s3://BUCKET/PREFIX
        "#]],
        );
        check(
            "s3://le ague/hansa",
            expect![[r#"
            URL "s3://le ague/hansa": "le ague" is no name of a bucket; write s3://BUCKET/PREFIX
        "#]],
        );
        check(
            "az://league/../hansa",
            expect![[r#"
            URL "az://league/../hansa": the prefix "../hansa" is not usable; use up to 200 letters, digits, '.', '_', '-' and '/', like /hansa or /prod/hansa
        "#]],
        );
        check(
            "s3://league/han%20sa",
            expect![[r#"
            URL "s3://league/han%20sa": the prefix "han sa" is not usable; use up to 200 letters, digits, '.', '_', '-' and '/', like /hansa or /prod/hansa
        "#]],
        );
        check(
            "s3://league/hansa?endpoint=localhost:9000",
            expect![[r#"
            URL "s3://league/hansa?endpoint=localhost:9000": endpoint=localhost:9000 is no address of a server; write endpoint=https://HOST:PORT, or endpoint=http://HOST:PORT for a plain connection
        "#]],
        );
        check(
            "s3://league/hansa?region=",
            expect![[r#"
            URL "s3://league/hansa?region=": region= is no name; write region=NAME, in letters, digits and hyphens
        "#]],
        );
        check(
            "s3://league/hansa?style=new",
            expect![[r#"
            URL "s3://league/hansa?style=new": style=new is not known; write style=virtual or style=path
        "#]],
        );
        check(
            "gs://league/hansa?region=eu",
            expect![[r#"
            URL "gs://league/hansa?region=eu": the option "region" is not known for gs; the options are endpoint, ca, timeout, changes-kept, anonymous
        "#]],
        );
        check(
            "az://league/hansa?anonymous=yes",
            expect![[r#"
            URL "az://league/hansa?anonymous=yes": anonymous=yes is neither true nor false; write anonymous=true
        "#]],
        );
        check(
            "s3://league/hansa?timeout=0s",
            expect![[r#"
            URL "s3://league/hansa?timeout=0s": "0s" is no duration above zero; write one like timeout=5s or timeout=250ms
        "#]],
        );
    }

    #[test]
    fn credentials_are_refused_and_not_shown() {
        check(
            "s3://AKIA:hunter2@league/hansa",
            expect![[r#"
            URL "s3://***@league/hansa": there is an @ in it; write s3://BUCKET/PREFIX; credentials come from the environment (AWS_…, GOOGLE_…, AZURE_…, HANSA_TOPO_…)
        "#]],
        );
        check(
            "s3://league/hansa?aws_secret_access_key=hunter2",
            expect![[r#"
            URL "s3://league/hansa?aws_secret_access_key=***": the option "aws_secret_access_key" would show a credential to everyone who sees the URL; credentials come from the environment (AWS_…, GOOGLE_…, AZURE_…, HANSA_TOPO_…)
        "#]],
        );
        check(
            "az://league/hansa?sas_token=sig%3Dhunter2",
            expect![[r#"
            URL "az://league/hansa?sas_token=***": the option "sas_token" would show a credential to everyone who sees the URL; credentials come from the environment (AWS_…, GOOGLE_…, AZURE_…, HANSA_TOPO_…)
        "#]],
        );
        check(
            "gs://league/hansa?bearer-token=hunter2&endpoint=",
            expect![[r#"
            URL "gs://league/hansa?bearer-token=***&endpoint=": the option "bearer-token" would show a credential to everyone who sees the URL; credentials come from the environment (AWS_…, GOOGLE_…, AZURE_…, HANSA_TOPO_…)
        "#]],
        );
        check(
            "s3://league/hansa?endpoint=https://me:hunter2@host",
            expect![[r#"
            URL "s3://***@host": there is an @ among the options; write it as %40
        "#]],
        );
        check(
            "s3://league/hansa?endpoint=https://me:hunter2%40host",
            expect![[r#"
            URL "s3://league/hansa?endpoint=***": there is an @ in endpoint=; write endpoint=https://HOST:PORT, or endpoint=http://HOST:PORT for a plain connection; credentials come from the environment (AWS_…, GOOGLE_…, AZURE_…, HANSA_TOPO_…)
        "#]],
        );
    }

    #[test]
    fn another_store_beside() {
        let beside = |url: &str| url.parse::<super::TopoUrl>().unwrap().beside("trial").to_string();
        let urls = ["s3://league/hansa", "etcd://h:1/hansa", "sqlite:/a/topo.db", "memory:x"];
        let expected =
            ["s3://league/hansa-trial", "etcd://h:1/hansa-trial", "sqlite:/a/topo.db-trial", "memory:x-trial"];
        assert_eq!(urls.map(beside), expected);
    }
}
