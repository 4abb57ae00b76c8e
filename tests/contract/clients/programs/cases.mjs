// What every client program shares: what it is told by its environment, and how it tells what it saw.

export const { CLIENT_BASE_URL: baseURL, CLIENT_API_KEY: apiKey, CLIENT_MODEL: model } = process.env;
export const { CLIENT_PROMPT: prompt, CLIENT_IMAGE: image } = process.env;

// How often a client may repeat a request that was refused.
export const retries = 1;

// The tools that a model may call; what they are asked is what the program saw.
export function weather(saw, city) {
  (saw.calls ??= []).push(["get_weather", city]);
  return `${city} is fine`;
}

export function clock(saw) {
  (saw.calls ??= []).push(["get_time", null]);
  return "12:00";
}

// Run the case of the command line; the last line of the output is what it saw.
export async function run(cases) {
  const saw = {};
  try {
    await cases[process.argv[2]](saw);
  } catch (error) {
    saw.error = describe(error);
  }
  console.log(JSON.stringify(saw));
}

// Return the classes by which an error can be caught, and its status.
function describe(error) {
  const last = error.lastError ?? error;
  const kinds = [error.name, last.name];
  for (let at = Object.getPrototypeOf(last); at?.constructor; at = Object.getPrototypeOf(at)) {
    kinds.push(at.constructor.name);
  }
  return { kinds, status: last.status ?? last.statusCode ?? null, message: String(error.message) };
}
