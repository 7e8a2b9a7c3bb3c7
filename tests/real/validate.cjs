// Holds recorded traffic against Microsoft's OpenAPI documents, with Microsoft's own validator:
// validate.cjs RECORDING SPECIFICATION RESULT. Writes one JSON object for each exchange: the operation, and what is
// wrong with it. The validator's own log is on its output.

const { readFileSync, writeFileSync } = require("node:fs");
const { LiveValidator } = require("oav");

const [recording, directory, result] = process.argv.slice(2);

const problems = (side, result) => [
  ...(result.runtimeException ? [{ side, code: result.runtimeException.code, message: result.runtimeException.message }] : []),
  ...result.errors.map(({ code, message, jsonPathsInPayload }) => ({ side, code, message, at: jsonPathsInPayload })),
];

async function main() {
  const validator = new LiveValidator({
    directory,
    swaggerPathsPattern: ["**/*.json"],
    excludedSwaggerPathsPattern: ["**/examples/**/*", "**/common/**/*", "**/common-types/**/*"],
    git: { shouldClone: false },
    loadValidatorInBackground: false,
  });
  await validator.initialize();
  const lines = readFileSync(recording, "utf8").split("\n").filter(Boolean);
  const found = [];
  for (const line of lines) {
    const exchange = JSON.parse(line);
    const { requestValidationResult: request, responseValidationResult: response, runtimeException } =
      await validator.validateLiveRequestResponse(exchange);
    const wrong = runtimeException
      ? [{ side: "both", ...runtimeException }]
      : [...problems("request", request), ...problems("response", response)];
    found.push({
      method: exchange.liveRequest.method,
      url: exchange.liveRequest.url,
      status: exchange.liveResponse.statusCode,
      operation: request.operationInfo.operationId,
      problems: wrong,
    });
  }
  writeFileSync(result, JSON.stringify(found));
}

main();
