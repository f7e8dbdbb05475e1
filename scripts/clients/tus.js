// tus-js-client uploads a file, breaks off in the middle and resumes: tus.js PROTOCOL ENDPOINT FILE.
// The authority is in NODE_EXTRA_CA_CERTS, the module in NODE_PATH.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const tus = require('tus-js-client');

const [protocol, endpoint, name] = process.argv.slice(2);
const size = fs.statSync(name).size;
const settings = {
    protocol,
    endpoint,
    uploadSize: size,
    // As tus wants a file named; the draft has no such field.
    metadata: { filename: path.basename(endpoint) },
    chunkSize: 3000000,
    retryDelays: null,
    onError: (error) => {
        console.error(String(error));
        process.exit(1);
    },
};

let url = null;
const first = new tus.Upload(fs.createReadStream(name), {
    ...settings,
    onUploadUrlAvailable: () => {
        url = first.url;
    },
    onProgress: (sent) => {
        // In the middle of a piece, the second at the earliest.
        if (sent > 4000000 && url !== null && !stopped) {
            stopped = true;
            first.abort().then(resume, settings.onError);
        }
    },
    onSuccess: () => settings.onError('it was done before it could be broken off'),
});
let stopped = false;
first.start();

function resume() {
    const offsets = [];
    const second = new tus.Upload(fs.createReadStream(name), {
        ...settings,
        uploadUrl: url,
        // The server says how far the first one came.
        onAfterResponse: (request, response) => {
            if (request.getMethod() === 'HEAD') {
                offsets.push(Number(response.getHeader('Upload-Offset')));
            }
        },
        onSuccess: () => {
            if (offsets.length !== 1 || !(offsets[0] > 0 && offsets[0] < size)) {
                settings.onError(`it did not resume: ${offsets}`);
            }
            console.log(`resumed at ${offsets[0]} of ${size}`);
        },
    });
    second.start();
}
