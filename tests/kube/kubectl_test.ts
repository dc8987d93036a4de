/** A client that we did not write is at home on the server: kubectl, against the program `serve.ts`. */
import assert from "node:assert/strict";
import { RUN_MODULE } from "../tools/run_module.ts";

const SERVE = new URL("./serve.ts", import.meta.url).pathname;

async function hasKubectl(): Promise<boolean> {
  try {
    const command = new Deno.Command("kubectl", { args: ["version", "--client"], stdout: "null" });
    return (await command.output()).success;
  } catch {
    return false;
  }
}

const MANIFEST = `
apiVersion: v1
kind: Namespace
metadata: {name: x}
---
apiVersion: crd.projectcalico.org/v1
kind: IPPool
metadata: {name: p}
spec: {cidr: 10.0.0.0/16}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x, labels: {app: web}}
spec: {containers: [{name: c, image: i}]}
`;

/** First line of a stream. */
async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  const reader = stream.pipeThrough(new TextDecoderStream() as any).getReader() as any;
  let text = "";
  while (!text.includes("\n")) {
    const { done, value } = await reader.read();
    if (done) break;
    text += value;
  }
  await reader.cancel();
  return text.split("\n")[0];
}

Deno.test({
  name:
    "kubectl creates, applies, reads, patches, waits, watches and deletes (skipped without kubectl)",
  ignore: !await hasKubectl(),
  async fn(t) {
    const folder = await Deno.makeTempDir();
    const server = new Deno.Command(Deno.execPath(), {
      args: [
        ...RUN_MODULE,
        SERVE,
        "--calico",
        "--folder",
        folder,
      ],
      stdout: "piped",
    }).spawn();
    try {
      assert.equal(await firstLine(server.stdout), `KUBECONFIG=${folder}/kubeconfig`);

      const kubectl = async (args: string[], stdin = ""): Promise<[number, string]> => {
        const child = new Deno.Command("kubectl", {
          args: [...args, "--request-timeout=30s"],
          env: { KUBECONFIG: `${folder}/kubeconfig`, HOME: folder },
          stdin: "piped",
          stdout: "piped",
          stderr: "piped",
        }).spawn();
        const writer = child.stdin.getWriter();
        await writer.write(new TextEncoder().encode(stdin));
        await writer.close();
        const { code, stdout, stderr } = await child.output();
        return [code, new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr)];
      };
      const works = async (args: string, wanted: RegExp, stdin?: string) => {
        const [code, text] = await kubectl(args.split(" "), stdin);
        assert.equal(code, 0, text);
        assert.match(text, wanted);
      };
      const fails = async (args: string, wanted: RegExp, stdin?: string) => {
        const [code, text] = await kubectl(args.split(" "), stdin);
        assert.notEqual(code, 0, text);
        assert.match(text, wanted);
      };

      await t.step("discovery", async () => {
        await works("api-resources", /ippools +crd\.projectcalico\.org\/v1 +false +IPPool/);
        await works("version", /Server Version: v1\.35/);
        await works("get --raw /readyz", /^ok/);
      });
      await t.step("apply twice changes nothing", async () => {
        await works("apply -f -", /pod\/a created/, MANIFEST);
        await works("apply -f -", /pod\/a unchanged/, MANIFEST);
        const changed = MANIFEST.replace("app: web", "app: api");
        await works("apply -f -", /pod\/a configured/, changed);
        await works("get pods -A -l app=api -o name", /^pod\/a\n/);
      });
      await t.step("get in all forms", async () => {
        await works("get ippools -o jsonpath={.items[0].spec.assignmentMode}", /^Automatic$/);
        await works("get pods -n x -o wide", /a +\d+s/);
        await works("get ippool p -o yaml", /cidr: 10\.0\.0\.0\/16/);
        await fails("get pod none -n x", /\(NotFound\): pods "none" not found/);
      });
      await t.step("patch, label, annotate, wait", async () => {
        await works(`patch pod a -n x -p {"metadata":{"labels":{"q":"r"}}}`, /patched/);
        await works("label pod a -n x q- z=w", /pod\/a (un)?labeled/);
        await works("annotate ippool p note=x", /annotated/);
        await works("wait --for=jsonpath={.status.phase}=Pending pod/a -n x", /condition met/);
        await works(
          `patch pod a -n x --subresource=status --type=merge -p {"status":{"phase":"Running"}}`,
          /patched/,
        );
        await works("get pods -n x --field-selector=status.phase=Running -o name", /pod\/a/);
      });
      await t.step("bad input is explained", async () => {
        const pool = (spec: string) =>
          "apiVersion: crd.projectcalico.org/v1\nkind: IPPool\nmetadata: {name: q}\n" +
          `spec: ${spec}\n`;
        await fails(
          "create -f -",
          /unknown field "spec\.other"/,
          pool("{cidr: 10.1.0.0/16, other: 1}"),
        );
        await fails("create -f -", /spec\.cidr: Required value/, pool("{blockSize: 26}"));
        await fails(
          "create -f -",
          /AlreadyExists/,
          pool("{cidr: 10.0.0.0/16}").replace("q}", "p}"),
        );
      });
      await t.step("delete, also a whole namespace, which kubectl watches go", async () => {
        await works("delete pod a -n x --timeout=30s", /deleted/);
        await works("delete ns x --timeout=30s", /deleted/);
        await fails("get ns x", /NotFound/);
      });
    } finally {
      server.kill("SIGTERM");
      await server.status;
      await Deno.remove(folder, { recursive: true });
    }
  },
});
