// Node's https module, with nothing set but whom to trust: fetch.js CA URL.
'use strict';
const fs = require('node:fs');
const https = require('node:https');

const [ca, url] = process.argv.slice(2);
const fail = (why) => {
    console.error(String(why));
    process.exitCode = 1;
};
const request = https.get(url, { ca: fs.readFileSync(ca), timeout: 20000 }, (answer) => {
    if (answer.statusCode === 200) {
        answer.pipe(process.stdout);
    } else {
        fail(`status ${answer.statusCode}`);
        answer.resume();
    }
});
request.on('timeout', () => request.destroy(new Error('timeout')));
request.on('error', fail);
