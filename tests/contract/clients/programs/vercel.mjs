// The AI SDK of Vercel.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { apiKey, baseURL, clock, image, model as name, prompt, retries, run, weather } from "./cases.mjs";

const provider = createOpenAICompatible({
  name: "cursorpipe",
  baseURL,
  apiKey,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const asked = { model: provider(name), maxRetries: retries };

const withTools = (saw) => ({
  ...asked,
  prompt,
  stopWhen: stepCountIs(5),
  tools: {
    get_weather: tool({
      description: "Look up the weather of a city.",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => weather(saw, city),
    }),
    get_time: tool({
      description: "Tell the time.",
      inputSchema: z.object({}),
      execute: async () => clock(saw),
    }),
  },
});

await run({
  async chat(saw) {
    const { text, usage } = await generateText({ ...asked, prompt });
    saw.text = text;
    saw.tokens = [usage.inputTokens, usage.outputTokens];
  },

  async stream(saw) {
    saw.pieces = [];
    const result = streamText({ ...asked, prompt, onError() {} });
    for await (const part of result.fullStream) {
      if (part.type === "text-delta") saw.pieces.push(part.text);
      // What comes in mid-stream is the envelope of the error and no Error.
      if (part.type === "error") throw Object.assign(new Error(part.error.message), part.error);
    }
    const usage = await result.usage;
    saw.tokens = [usage.inputTokens, usage.outputTokens];
  },

  async tools(saw) {
    const { text } = await generateText(withTools(saw));
    saw.text = text;
  },

  async tools_stream(saw) {
    saw.text = await streamText({ ...withTools(saw), onError() {} }).text;
  },

  async structured(saw) {
    const schema = z.object({ name: z.string(), age: z.number() });
    const { object } = await generateObject({ ...asked, prompt, schema });
    saw.object = object;
  },

  async image(saw) {
    const content = [
      { type: "text", text: prompt },
      { type: "image", image },
    ];
    const { text } = await generateText({ ...asked, messages: [{ role: "user", content }] });
    saw.text = text;
  },
});
