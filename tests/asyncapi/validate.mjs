// Checks an AsyncAPI document with the AsyncAPI project's own parser: node validate.mjs <file>
import { readFile } from 'node:fs/promises';
import { Parser } from '@asyncapi/parser';

const file = process.argv[2];
if (!file) {
  console.error('name the file: node validate.mjs <file>');
  process.exit(2);
}
const ERROR = 0;
const { document, diagnostics } = await new Parser().parse(await readFile(file, 'utf8'));
const errors = diagnostics.filter(({ severity }) => severity === ERROR);
for (const { path, message } of errors) {
  console.error(`${path.join('.')}: ${message}`);
}
if (errors.length > 0 || !document) {
  process.exit(1);
}
console.log(`${document.messages().length} messages, ${document.operations().length} operations`);
