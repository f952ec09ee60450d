use super::*;

/// A field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).expect("short")];
    out.extend_from_slice(bytes);
    out
}

/// A field that is a small number.
fn small(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let of_type = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &of_type), field(2, raw)].concat()
}

#[test]
fn a_config_map_is_what_its_json_is() {
    // Go writes the empty name generator and the zero time as well.
    let metadata = [field(1, b"a"), field(2, b""), field(8, b"")].concat();
    let data = [field(1, b"k"), field(2, b"v")].concat();
    let raw = [field(1, &metadata), field(2, &data)].concat();
    assert_eq!(
        envelope(&body("v1", "ConfigMap", &raw)),
        Ok(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}))
    );
}

#[test]
fn inlined_structs_ports_and_pointers_to_zero_keep_their_meaning() {
    // Service.spec.ports[].targetPort as text, and replicas: 0 of a Deployment, which is a pointer.
    let target = [small(1, 1), field(3, b"http")].concat();
    let port = [small(3, 80), field(4, &target)].concat();
    let raw = field(2, &field(1, &port));
    let service = envelope(&body("v1", "Service", &raw)).expect("decodes");
    assert_eq!(service["spec"]["ports"], json!([{"port": 80, "targetPort": "http"}]));
    let deployment = envelope(&body("apps/v1", "Deployment", &field(2, &small(1, 0)))).expect("decodes");
    assert_eq!(deployment["spec"]["replicas"], 0);
    // A volume's source has no name of its own in JSON.
    let source = field(2, &[]);
    let volume = [field(1, b"tmp"), field(2, &source)].concat();
    let pod = envelope(&body("v1", "Pod", &field(2, &field(1, &volume)))).expect("decodes");
    assert_eq!(pod["spec"]["volumes"], json!([{"name": "tmp", "emptyDir": {}}]));
}

#[test]
fn negative_and_fractional_times_and_numbers_are_read() {
    let negative = [vec![1 << 3], vec![0xff; 9], vec![1]].concat();
    let options = envelope(&body("apps/v1", "DeleteOptions", &negative)).expect("decodes");
    assert_eq!(options["gracePeriodSeconds"], -1);
    assert_eq!(
        moment(&[small(1, 60), vec![2 << 3, 0xc0, 0x84, 0x3d]].concat(), true),
        Ok(json!("1970-01-01T00:01:00.001000Z"))
    );
}

#[test]
fn what_is_no_protobuf_is_refused() {
    assert_eq!(envelope(b"{}"), Err(Malformed::Magic));
    assert_eq!(envelope(b"k8s\0\x0a\x05ab"), Err(Malformed::Short));
    assert_eq!(envelope(&body("x.io/v1", "Foo", &[])), Err(Malformed::Kind("x.io/v1 Foo".into())));
}
