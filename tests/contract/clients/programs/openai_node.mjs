// The official client for JavaScript.

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { apiKey, baseURL, clock, image, model, prompt, retries, run, weather } from "./cases.mjs";

const client = new OpenAI({ baseURL, apiKey, maxRetries: retries });
const messages = [{ role: "user", content: prompt }];
// The two tools, as `runTools` takes them.
const toolsOf = (saw) => [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "Look up the weather of a city.",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
      parse: JSON.parse,
      function: ({ city }) => weather(saw, city),
    },
  },
  {
    type: "function",
    function: {
      name: "get_time",
      description: "Tell the time.",
      parameters: { type: "object", properties: {} },
      function: () => clock(saw),
    },
  },
];
const Person = z.object({ name: z.string(), age: z.number() });

await run({
  async chat(saw) {
    const { choices, usage } = await client.chat.completions.create({ model, messages });
    saw.text = choices[0].message.content;
    saw.tokens = [usage.prompt_tokens, usage.completion_tokens];
  },

  async stream(saw) {
    saw.pieces = [];
    const options = { stream: true, stream_options: { include_usage: true } };
    const chunks = await client.chat.completions.create({ model, messages, ...options });
    for await (const { choices, usage } of chunks) {
      if (choices[0]?.delta.content) saw.pieces.push(choices[0].delta.content);
      if (usage) saw.tokens = [usage.prompt_tokens, usage.completion_tokens];
    }
  },

  async structured(saw) {
    const response_format = zodResponseFormat(Person, "person");
    const { choices } = await client.chat.completions.parse({ model, messages, response_format });
    saw.object = choices[0].message.parsed;
  },

  async image(saw) {
    const parts = [
      { type: "text", text: prompt },
      { type: "image_url", image_url: { url: image } },
    ];
    const { choices } = await client.chat.completions.create({
      model,
      messages: [{ role: "user", content: parts }],
    });
    saw.text = choices[0].message.content;
  },

  async tools(saw) {
    const runner = client.chat.completions.runTools({ model, messages, tools: toolsOf(saw) });
    saw.text = await runner.finalContent();
  },

  async tools_stream(saw) {
    const asked = { model, messages, tools: toolsOf(saw), stream: true };
    saw.text = await client.chat.completions.runTools(asked).finalContent();
  },

  async completion(saw) {
    const { choices, usage } = await client.completions.create({ model, prompt });
    saw.text = choices[0].text;
    saw.tokens = [usage.prompt_tokens, usage.completion_tokens];
  },
});
