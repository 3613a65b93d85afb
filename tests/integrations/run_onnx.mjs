// Runs models by onnxruntime-web: a list of { model, width, embeddings } on standard input, the
// embeddings of all rows one after another; prints the first output of each, in the same form.
import * as ort from "onnxruntime-web";
import { readFileSync } from "node:fs";

const found = [];
for (const { model, width, embeddings } of JSON.parse(readFileSync(0, "utf8"))) {
  const session = await ort.InferenceSession.create(model);
  const shape = [embeddings.length / width, width];
  const given = new ort.Tensor("float32", Float32Array.from(embeddings), shape);
  const [made] = Object.values(await session.run({ embeddings: given }));
  found.push({ dims: made.dims, data: Array.from(made.data) });
}
console.log(JSON.stringify(found));
