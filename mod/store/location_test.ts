import assert from "node:assert/strict";
import {
  datastoreTypeOf,
  describeLocation,
  locationBeside,
  LocationError,
  locationFromConfig,
  locationFromEnvironment,
  locationFromNetConf,
  locationOfContext,
  parseStoreName,
} from "./location.ts";

const env = (values: Record<string, string>) => (name: string) => values[name];
const none = env({});
const base = { ETCD_ENDPOINTS: "https://e:2379" };

Deno.test("nothing that names a datastore is no answer", () => {
  assert.equal(locationFromEnvironment(none), undefined);
  // Everybody who works with kubectl has this one.
  assert.equal(locationFromEnvironment(env({ KUBECONFIG: "/root/.kube/config" })), undefined);
  assert.equal(locationFromConfig(null, "x.yaml", none), undefined);
  assert.equal(locationFromConfig({ store: 1, logLevel: "info" }, "x.yaml", none), undefined);
  assert.equal(locationFromNetConf({ name: "n", type: "calico" }), undefined);
  assert.equal(locationFromEnvironment(env({ DATASTORE_TYPE: "kv" })), undefined);
});

Deno.test("Calico's variables name an etcd, also with CALICO_ in front and as Felix's", () => {
  const expected = {
    kind: "etcd",
    endpoints: ["https://10.0.0.1:2379", "https://etcd2:2379"],
    username: "root",
    password: "s3cret",
    tls: { ca: { file: "/ca" }, cert: { file: "/cert" }, key: { file: "/key" } },
  };
  const values = {
    ETCD_ENDPOINTS: "https://10.0.0.1:2379, https://etcd2:2379",
    ETCD_USERNAME: "root",
    ETCD_PASSWORD: "s3cret",
    ETCD_CA_CERT_FILE: "/ca",
    ETCD_CERT_FILE: "/cert",
    ETCD_KEY_FILE: "/key",
  };
  assert.deepEqual(locationFromEnvironment(env(values)), expected);
  assert.deepEqual(
    locationFromEnvironment(env({ ...values, DATASTORE_TYPE: "etcdv3" })),
    expected,
  );
  const prefixed = Object.fromEntries(Object.entries(values).map(([k, v]) => [`CALICO_${k}`, v]));
  assert.deepEqual(locationFromEnvironment(env(prefixed)), expected);
  const felix = {
    ...values,
    ETCD_ENDPOINTS: "http://wrong:1",
    FELIX_ETCDENDPOINTS: values.ETCD_ENDPOINTS,
    ETCD_CA_CERT_FILE: "/wrong",
    FELIX_ETCDCAFILE: "/ca",
  };
  assert.deepEqual(locationFromEnvironment(env(felix)), expected);
});

Deno.test("a variable with CALICO_ in front wins over the bare one, Felix's over both", () => {
  const bare: Record<string, string> = {
    DATASTORE_TYPE: "kubernetes",
    KUBECONFIG: "/bare",
    K8S_API_ENDPOINT: "http://bare:1",
    K8S_CURRENT_CONTEXT: "bare",
    K8S_API_TOKEN: "bare",
    K8S_KEY_FILE: "/bare",
    K8S_CERT_FILE: "/bare",
    K8S_CA_FILE: "/bare",
    K8S_INSECURE_SKIP_TLS_VERIFY: "false",
    USE_POD_CIDR: "false",
    CALICO_API_GROUP: "projectcalico.org/v3",
    ETCD_ENDPOINTS: "http://bare:1",
    ETCD_USERNAME: "bare",
    ETCD_PASSWORD: "bare",
    ETCD_CA_CERT_FILE: "/bare",
    ETCD_CERT_FILE: "/bare",
    ETCD_KEY_FILE: "/bare",
  };
  const other = (value: string) =>
    value === "false"
      ? "true"
      : value === "projectcalico.org/v3"
      ? "crd.projectcalico.org/v1"
      : value.replace("bare", "front");
  const front = Object.fromEntries(
    Object.entries(bare).map(([name, value]) => [`CALICO_${name}`, other(value)]),
  );
  const alone = Object.fromEntries(Object.entries(bare).map(([k, value]) => [k, other(value)]));
  for (const type of ["kubernetes", "etcdv3"]) {
    const mixed = { ...bare, DATASTORE_TYPE: "consul", ...front, CALICO_DATASTORE_TYPE: type };
    assert.deepEqual(
      locationFromEnvironment(env(mixed)),
      locationFromEnvironment(env({ ...alone, DATASTORE_TYPE: type })),
    );
  }
  const etcd = { CALICO_DATASTORE_TYPE: "etcdv3", DATASTORE_TYPE: "kv", ...base };
  assert.equal(locationFromEnvironment(env(etcd))?.kind, "etcd");
  assert.equal(
    datastoreTypeOf(env({ DATASTORE_TYPE: "kv", CALICO_DATASTORE_TYPE: "etcdv3" })),
    "etcdv3",
  );
  assert.deepEqual(
    locationFromEnvironment(env({
      ETCD_ENDPOINTS: "http://a:1",
      CALICO_ETCD_ENDPOINTS: "http://b:1",
      FELIX_ETCDENDPOINTS: "http://c:1",
    })),
    { ...locationFromEnvironment(env({ ETCD_ENDPOINTS: "http://c:1" })) },
  );
  const beside = locationBeside(
    locationFromEnvironment(env(base))!,
    env({ ...base, KUBECONFIG: "/bare", CALICO_KUBECONFIG: "/front" }),
  );
  assert(beside?.kind === "kubernetes" && beside.kubeconfig === "/front");
});

Deno.test("an empty endpoint beside others is passed over, as a comma at the end", () => {
  const location = locationFromEnvironment(env({ ETCD_ENDPOINTS: "http://a:1,,http://b:2," }));
  assert(location?.kind === "etcd");
  assert.deepEqual(location.endpoints, ["http://a:1", "http://b:2"]);
});

Deno.test("calicoctl.cfg names an etcd or a Kubernetes, and its certificates inline", () => {
  const pem = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n";
  const spec = {
    datastoreType: "etcdv3",
    etcdEndpoints: "https://e:2379",
    etcdCACert: pem,
    etcdCert: pem,
    etcdKey: pem,
  };
  const file = { apiVersion: "projectcalico.org/v3", kind: "CalicoAPIConfig", metadata: {}, spec };
  assert.deepEqual(locationFromConfig(file, "c", none), {
    kind: "etcd",
    endpoints: ["https://e:2379"],
    username: undefined,
    password: undefined,
    tls: { ca: { pem }, cert: { pem }, key: { pem } },
  });
  const kubernetes = {
    ...file,
    spec: {
      datastoreType: "kubernetes",
      kubeconfig: "/k",
      k8sCurrentContext: "prod",
      usePodCIDR: true,
      calicoAPIGroup: "projectcalico.org/v3",
      k8sClientQPS: 50,
    },
  };
  assert.deepEqual(locationFromConfig(kubernetes, "c", env({ HOME: "/root" })), {
    kind: "kubernetes",
    kubeconfig: "/k",
    kubeconfigInline: undefined,
    defaultKubeconfig: "/root/.kube/config",
    context: "prod",
    apiEndpoint: undefined,
    token: undefined,
    tls: { ca: undefined, cert: undefined, key: undefined },
    insecureSkipTlsVerify: false,
    apiGroup: "projectcalico.org/v3",
    usePodCidr: true,
  });
  // A file that names a datastore is all that counts, as in Calico.
  const variables = env({ ETCD_CA_CERT_FILE: "/ca", ETCD_ENDPOINTS: "http://other:1" });
  assert.deepEqual(
    locationFromConfig(file, "c", variables),
    locationFromConfig(file, "c", none),
  );
});

Deno.test("the CNI plugin's keys name a datastore", () => {
  const etcd = {
    datastore_type: "etcdv3",
    etcd_endpoints: "https://e:2379",
    etcd_ca_cert_file: "/ca",
    etcd_cert_file: "/cert",
    etcd_key_file: "/key",
    kubernetes: { kubeconfig: "/etc/cni/net.d/calico-kubeconfig" },
  };
  assert.deepEqual(locationFromNetConf(etcd), {
    kind: "etcd",
    endpoints: ["https://e:2379"],
    username: undefined,
    password: undefined,
    tls: { ca: { file: "/ca" }, cert: { file: "/cert" }, key: { file: "/key" } },
  });
  const old = locationFromNetConf({ etcd_authority: "10.0.0.1:2379", etcd_scheme: "https" });
  assert.deepEqual(old?.kind === "etcd" && old.endpoints, ["https://10.0.0.1:2379"]);
  const kubernetes = locationFromNetConf({
    datastore_type: "kubernetes",
    kubernetes: { kubeconfig: "/k", k8s_api_root: "https://10.96.0.1:443" },
    policy: { k8s_auth_token: "t" },
  });
  assert(kubernetes?.kind === "kubernetes");
  assert.equal(kubernetes.kubeconfig, "/k");
  assert.equal(kubernetes.apiEndpoint, "https://10.96.0.1:443");
  assert.equal(kubernetes.token, "t");
});

Deno.test("a store's name takes its credentials from the environment", () => {
  const variables = env({ ETCD_CA_CERT_FILE: "/ca", ETCD_ENDPOINTS: "http://other:1" });
  for (const name of ["etcd:https://a:1,b:2", "https://a:1,b:2", "etcd://https://a:1,b:2"]) {
    assert.deepEqual(parseStoreName(name, "--store", variables), {
      kind: "etcd",
      endpoints: ["https://a:1", "https://b:2"],
      username: undefined,
      password: undefined,
      tls: { ca: { file: "/ca" }, cert: undefined, key: undefined },
    });
  }
  assert.deepEqual(parseStoreName("kv:/x", "--store", none), { kind: "kv", path: "/x" });
  assert.deepEqual(parseStoreName("/x.kv", "--store", none), { kind: "kv", path: "/x.kv" });
  assert.deepEqual(parseStoreName("unix:///x", "--store", none), { kind: "socket", path: "/x" });
  assert.deepEqual(parseStoreName("/x.sock", "--store", none), { kind: "socket", path: "/x.sock" });
  const kubernetes = parseStoreName("kubernetes:/k", "--store", none);
  assert(kubernetes.kind === "kubernetes" && kubernetes.kubeconfig === "/k");
  const context = locationOfContext("prod", env({ KUBECONFIG: "/k", DATASTORE_TYPE: "etcdv3" }));
  assert.equal(describeLocation(context), "the Kubernetes API at /k (context prod)");
});

Deno.test("a configuration file's keys are read in any case, as Calico's reader has them", () => {
  const spec = { DatastoreType: "etcdv3", ETCDEndpoints: "http://e:1", k8sclientqps: 5 };
  const file = { APIVersion: "projectcalico.org/v3", Kind: "CalicoAPIConfig", Spec: spec };
  for (const value of [file, spec]) {
    const location = locationFromConfig(value, "c", env({}));
    assert(location?.kind === "etcd");
    assert.deepEqual(location.endpoints, ["http://e:1"]);
  }
  assert.throws(() => locationFromConfig({ ...file, Kind: "Pod" }, "c", env({})), /kind "Pod"/);
  assert.throws(
    () => locationFromConfig({ ...file, Spec: { ...spec, bogus: null } }, "c", env({})),
    /unknown key spec\.bogus/,
  );
  assert.throws(
    () => locationFromConfig({ ...spec, etcdEndpoints: "http://f:1" }, "c", env({})),
    /the configuration c has etcdEndpoints twice, in two spellings; leave one/,
  );
  assert.throws(
    () => locationFromConfig({ ...file, Spec: { store: "kv:/x" } }, "c", env({})),
    /unknown key spec\.store; tortie's own store stands beside spec, at the left margin/,
  );
});

Deno.test("a user without a password is nobody, to etcd's own client and so to us", () => {
  const halves: Record<string, string>[] = [{ ETCD_USERNAME: "u" }, { ETCD_PASSWORD: "p" }];
  for (const half of halves) {
    const location = locationFromEnvironment(
      env({ ETCD_ENDPOINTS: "http://e:1", ...half }),
    );
    assert(location?.kind === "etcd");
    assert.deepEqual([location.username, location.password], [undefined, undefined]);
  }
});

Deno.test("advice is for the place where the rest was said: beside a file no variable counts", () => {
  const values = env({ ETCD_ENDPOINTS: "http://e:1" });
  const advice = (spec: Record<string, string>) => () =>
    locationFromConfig({ kind: "CalicoAPIConfig", spec }, "/c.cfg", values);
  assert.throws(
    advice({ datastoreType: "etcdv3" }),
    /but no endpoint is named; set etcdEndpoints in \/c\.cfg, beside which no variable counts$/,
  );
  assert.throws(advice({ etcdDiscoverySrv: "x" }), /SRV .*; set etcdEndpoints in \/c\.cfg,/);
  assert.throws(advice({ etcdEndpoints: "http://u:p@e" }), /a user; set etcdUsername in \/c\.cfg,/);
  assert.throws(
    () => locationFromNetConf({ datastore_type: "etcdv3" }, values),
    /no endpoint is named; set etcd_endpoints in the network configuration,/,
  );
});

Deno.test("what is wrong is told by the name under which it was given", () => {
  const cases: [values: Record<string, string>, message: RegExp][] = [
    [{ DATASTORE_TYPE: "consul" }, /"consul" of DATASTORE_TYPE is not known/],
    [{ CALICO_DATASTORE_TYPE: "consul" }, /"consul" of CALICO_DATASTORE_TYPE/],
    [{ FELIX_DATASTORETYPE: "consul" }, /"consul" of FELIX_DATASTORETYPE/],
    [
      { DATASTORE_TYPE: "etcdv3" },
      /DATASTORE_TYPE says etcdv3, but no endpoint is named; set ETCD_ENDPOINTS$/,
    ],
    [{ ETCD_DISCOVERY_SRV: "example.com" }, /ETCD_DISCOVERY_SRV asks .* SRV .* ETCD_ENDPOINTS/],
    [{ ETCD_ENDPOINTS: " , " }, /endpoint "" of ETCD_ENDPOINTS is empty/],
    [{ ETCD_ENDPOINTS: "unix:///x" }, /"unix:\/\/\/x" of ETCD_ENDPOINTS is not understood/],
    [{ ETCD_ENDPOINTS: "ftp://e:1" }, /has the scheme ftp/],
    [{ ETCD_ENDPOINTS: "http://u:p@e:2379" }, /"http:\/\/…@e:2379" of ETCD_ENDPOINTS holds a user/],
    [{ ...base, ETCD_KEY_FILE: "/k" }, /ETCD_KEY_FILE is set but no certificate/],
    [{ ...base, ETCD_CERT_FILE: "/c" }, /ETCD_CERT_FILE is set but no key/],
    [{ ...base, ETCD_CA_CERT: "x", ETCD_CERT: "y" }, /ETCD_CA_CERT is no PEM text/],
    [
      {
        ...base,
        ETCD_KEY_FILE: "/k",
        ETCD_CERT_FILE: "/c",
        ETCD_CA_CERT: "-----BEGIN CERTIFICATE-----",
      },
      /ETCD_CA_CERT is given inline and ETCD_KEY_FILE as a file/,
    ],
    [{ K8S_API_ENDPOINT: "10.0.0.1:6443" }, /K8S_API_ENDPOINT="10.0.0.1:6443" is not an http/],
    [{ DATASTORE_TYPE: "kubernetes", USE_POD_CIDR: "perhaps" }, /USE_POD_CIDR="perhaps" is not a/],
    [{ DATASTORE_TYPE: "kubernetes", CALICO_API_GROUP: "v2" }, /CALICO_API_GROUP="v2" is not one/],
    [
      { DATASTORE_TYPE: "kubernetes", K8S_KEY_FILE: "/k" },
      /K8S_KEY_FILE is set but no client cert/,
    ],
  ];
  for (const [values, message] of cases) {
    assert.throws(() => locationFromEnvironment(env(values)), (error: Error) => {
      assert(error instanceof LocationError);
      assert.match(error.message, message);
      assert(!error.message.includes("u:p"));
      return true;
    });
  }
  const spec = (spec: unknown, rest = {}) => () => locationFromConfig({ spec, ...rest }, "c", none);
  assert.throws(spec({ etcdEndpoint: "x" }), /unknown key spec\.etcdEndpoint/);
  assert.throws(spec({ datastoreType: 3 }), /datastoreType of c must be a text, not 3/);
  assert.throws(spec({}, { kind: "Secret" }), /kind "Secret", not CalicoAPIConfig/);
  assert.throws(spec({}, { apiVersion: "v1" }), /apiVersion "v1"/);
});
